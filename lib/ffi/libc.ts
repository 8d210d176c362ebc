/** Whole pages of some memory, by offsets in it. */
export interface PageRange {
  /** Where they begin. */
  readonly start: number;
  /** Where they end: the first byte behind them. */
  readonly end: number;
}

/**
 * Zeroed, page-aligned memory that this process and KVM both see, with its address. Where KVM is in another machine,
 * that machine's processor must hear of what this process writes: it may have translated code that lay there before.
 */
export interface Pages extends Disposable {
  /**
   * The memory. Once a guest has run, whoever writes to it says so with {@linkcode Pages.wrote}, or writes through
   * {@linkcode Pages.view}.
   */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The address of its first byte, a multiple of the page size. */
  readonly address: bigint;
  /** Says that `length` bytes from `start` on were written through {@linkcode Pages.bytes}. */
  wrote(start: number, length: number): void;
  /** `length` bytes from `start` on, for whoever writes to them whenever it likes. */
  view(start: number, length: number): Uint8Array<ArrayBuffer>;
  /** What of it may be other than zeros, in order: nobody has touched the rest. */
  touched(): readonly PageRange[];
  /**
   * Ends it: {@linkcode Pages.bytes} and all views have no bytes any more. No VM may have it as a memory slot. A second
   * call does nothing.
   */
  [Symbol.dispose](): void;
}

/**
 * The C library calls that vmexit makes, under their own names and with their own conventions: a call that fails
 * returns -1 and leaves its reason in {@linkcode Libc.errno}. Nothing here throws for a failed call; the owners above
 * ({@linkcode OwnedFd}, {@linkcode Mapping}, the classes of `lib/kvm`) do.
 *
 * It is an interface because there are several: that of this process, the one that makes the calls in an emulated
 * machine with a KVM, and those of tests, which stand between vmexit and the kernel and inject faults.
 *
 * @example A `Libc` that runs out of file descriptors
 * ```ts
 * import { kvmLibc, type Libc } from "@vmexit/vmexit/kvm";
 *
 * const EMFILE = 24;
 * const exhausted = (): Libc => {
 *   const real = kvmLibc();
 *   return { ...real, open: () => -1, errno: () => EMFILE };
 * };
 * ```
 */
export interface Libc {
  /** The reason of the call that failed last on this thread. Read it before anything else is called. */
  errno(): number;
  /** `open(2)`. */
  open(path: string, flags: number): number;
  /** `close(2)`. */
  close(fd: number): number;
  /** `read(2)` into the whole of `buffer`. */
  read(fd: number, buffer: Uint8Array<ArrayBuffer>): number;
  /** `write(2)` of the whole of `bytes`. */
  write(fd: number, bytes: Uint8Array<ArrayBuffer>): number;
  /** `pread(2)` into the whole of `buffer`. */
  pread(fd: number, buffer: Uint8Array<ArrayBuffer>, offset: number): number;
  /** `lseek(2)`. */
  lseek(fd: number, offset: number, whence: number): number;
  /** `memfd_create(2)`. */
  memfd_create(name: string, flags: number): number;
  /** `eventfd(2)`. */
  eventfd(initialValue: number, flags: number): number;
  /** `ioctl(2)` whose third argument is a number; it takes the fast path, so `KVM_RUN` uses it. */
  ioctl(fd: number, request: number, argument: number): number;
  /** `ioctl(2)` whose third argument points to the first byte of `buffer`. */
  ioctlBuffer(fd: number, request: number, buffer: Uint8Array<ArrayBuffer>): number;
  /** `mmap(2)` at an address of the kernel's choice: that address, or `MAP_FAILED` (2^64 − 1). */
  mmap(length: number, protection: number, flags: number, fd: number, offset: number): bigint;
  /** `munmap(2)`. */
  munmap(address: bigint, length: number): number;
  /** `madvise(2)`. */
  madvise(address: bigint, length: number, advice: number): number;
  /** The memory at `address` as a buffer. It is not owned: it dangles once that memory is unmapped. */
  memory(address: bigint, length: number): ArrayBuffer;
  /** The address of the first byte of `bytes`. */
  addressOf(bytes: Uint8Array<ArrayBuffer>): bigint;
  /**
   * Zeroed memory that this process and KVM both see, which begins `offset` bytes behind a multiple of `alignment`.
   *
   * @throws {HostError} When there is not that much.
   */
  allocatePages(size: number, alignment: number, offset: number): Pages;
  /** The address of a function of libc, for a signal handler that is never JavaScript. */
  functionAddress(name: string): bigint;
  /** `gettid(2)`. */
  gettid(): number;
  /** `sigaction(2)`, without the old action. */
  sigaction(signal: number, action: Uint8Array<ArrayBuffer>): number;
  /** `timer_create(2)`. */
  timer_create(
    clock: number,
    event: Uint8Array<ArrayBuffer>,
    timerId: Uint8Array<ArrayBuffer>,
  ): number;
  /** `timer_settime(2)` with a relative time, without the old value. */
  timer_settime(timerId: bigint, value: Uint8Array<ArrayBuffer>): number;
  /** `timer_delete(2)`. */
  timer_delete(timerId: bigint): number;
  /** `sysconf(3)`. */
  sysconf(name: number): number;
}
