import type { Libc } from "./libc.ts";
import { MAP, MAP_FAILED, PROT } from "./mman.ts";
import { SystemError } from "./errors.ts";

/** How many of each kind of resource are open. */
export interface OpenHandles {
  /** File descriptors owned by an `OwnedFd`. */
  fds: number;
  /** Mappings owned by a `Mapping`. */
  mappings: number;
  /** POSIX timers owned by a `ThreadTimer`. */
  timers: number;
}

const counts: OpenHandles = { fds: 0, mappings: 0, timers: 0 };

/**
 * What vmexit holds open in this thread. Deno's resource sanitizer does not see file descriptors that
 * libc opened; a test that compares this before and after finds a leak that the sanitizer cannot.
 *
 * @example
 * ```ts
 * import { openHandles } from "@vmexit/vmexit/kvm";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(openHandles(), { fds: 0, mappings: 0, timers: 0 });
 * ```
 */
export function openHandles(): OpenHandles {
  return { ...counts };
}

/** Counts one handle opened (+1) or closed (-1). For the owners in `lib/ffi` alone. */
export function countHandle(kind: keyof OpenHandles, change: 1 | -1): void {
  counts[kind] += change;
}

/** A file descriptor with one owner: closed once, by `dispose`, and refused afterwards. */
export class OwnedFd implements Disposable {
  readonly #libc: Libc;
  readonly #what: string;
  #fd: number;

  /**
   * Takes ownership of `fd`.
   *
   * @param what What the descriptor stands for, for messages: `"/dev/kvm"`, `"vCPU 0"`.
   */
  constructor(libc: Libc, fd: number, what: string) {
    this.#libc = libc;
    this.#fd = fd;
    this.#what = what;
    countHandle("fds", 1);
  }

  /** The descriptor. @throws {TypeError} Once it is closed: its number may be somebody else's by then. */
  get number(): number {
    return this.#fd < 0 ? this.#refuse() : this.#fd;
  }

  // Apart, so that what is asked at each exit is small enough for V8 to inline.
  #refuse(): never {
    throw new TypeError(`Cannot use ${this.#what}: it is disposed`);
  }

  /** Whether it is not yet disposed. */
  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /**
   * Gives it to another owner: this one is as if it were disposed, and nothing is closed.
   *
   * @throws {TypeError} Once it is disposed.
   */
  give(): number {
    const fd = this.number;
    this.#fd = -1;
    countHandle("fds", -1);
    return fd;
  }

  /** Closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.give();
    // The result is of no use: Linux frees the descriptor even when close(2) fails.
    this.#libc.close(fd);
  }
}

const UNMAPPED = new DataView(new ArrayBuffer(0));
const NO_WORDS = new Uint32Array(0);
const NO_BYTES = new Uint8Array(0);

/**
 * A shared mapping of a file descriptor with one owner. Its view dangles once it is unmapped, so it is handed
 * to the owner alone, through {@linkcode Mapping.view}, which is replaced by an empty one on dispose: reading
 * it then throws and touches no memory.
 */
export class Mapping implements Disposable {
  readonly #libc: Libc;
  readonly #address: bigint;
  readonly #length: number;
  #view: DataView<ArrayBuffer>;
  #words: Uint32Array<ArrayBuffer>;
  #bytes: Uint8Array<ArrayBuffer>;

  /**
   * Maps `length` bytes of `fd`, readable and writable, from `offset` on, a multiple of 4096; or takes what
   * {@linkcode Mapping.give} gave.
   *
   * @throws {SystemError} When the kernel refuses.
   */
  constructor(
    libc: Libc,
    fd: number,
    length: number,
    what: string,
    offset: number = 0,
    address: bigint = libc.mmap(length, PROT.READ | PROT.WRITE, MAP.SHARED, fd, offset),
  ) {
    if (address === MAP_FAILED) {
      throw new SystemError("mmap", libc.errno(), `${length} bytes of ${what} were not mapped`);
    }
    this.#libc = libc;
    this.#address = address;
    this.#length = length;
    this.#view = new DataView(libc.memory(address, length));
    this.#words = new Uint32Array(this.#view.buffer);
    this.#bytes = new Uint8Array(this.#view.buffer);
    countHandle("mappings", 1);
  }

  /** The mapped bytes; an empty view once disposed. Take it anew after each call that may dispose. */
  get view(): DataView<ArrayBuffer> {
    return this.#view;
  }

  /** The same as 32-bit words: little endian, as all that vmexit runs on is. */
  get words(): Uint32Array<ArrayBuffer> {
    return this.#words;
  }

  /** The same as bytes. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  /** Gives it to another owner: this one is as if it were disposed, and what was mapped stays at this address. */
  give(): bigint {
    this.#view = UNMAPPED;
    this.#words = NO_WORDS;
    this.#bytes = NO_BYTES;
    countHandle("mappings", -1);
    return this.#address;
  }

  /** Unmaps it; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#view === UNMAPPED) return;
    this.give();
    this.#libc.munmap(this.#address, this.#length);
  }
}
