import { ERRNO, SystemError } from "./errors.ts";
import type { Libc } from "./libc.ts";
import { OwnedFd } from "./handles.ts";

/** Flags of `eventfd(2)` (`sys/eventfd.h`). */
const EFD = { NONBLOCK: 0x800, CLOEXEC: 0x80000 } as const;

const COUNTER_SIZE = 8;

/** A counter in the kernel that two sides share: the one adds to it, the other takes what was added. */
export class EventFd implements Disposable {
  readonly #libc: Libc;
  readonly #fd: OwnedFd;
  readonly #what: string;
  readonly #counter = new DataView(new ArrayBuffer(COUNTER_SIZE));
  readonly #bytes = new Uint8Array(this.#counter.buffer);

  /**
   * Makes one whose counter is 0.
   *
   * @param what What it stands for, for messages: `"the eventfd of GSI 4"`.
   * @throws {SystemError} When the kernel gives none.
   */
  constructor(libc: Libc, what: string) {
    const fd = libc.eventfd(0, EFD.NONBLOCK | EFD.CLOEXEC);
    if (fd < 0) throw new SystemError("eventfd", libc.errno(), `${what} was not made`);
    this.#libc = libc;
    this.#fd = new OwnedFd(libc, fd, what);
    this.#what = what;
  }

  /** The descriptor. @throws {TypeError} Once it is disposed. */
  get number(): number {
    return this.#fd.number;
  }

  /** Whether it is not yet disposed. */
  get isOpen(): boolean {
    return this.#fd.isOpen;
  }

  /**
   * Adds 1 to the counter.
   *
   * @throws {TypeError} Once it is disposed.
   * @throws {SystemError} When the counter is full.
   */
  signal(): void {
    const fd = this.#fd.number;
    this.#counter.setBigUint64(0, 1n, true);
    if (this.#libc.write(fd, this.#bytes) === COUNTER_SIZE) return;
    throw new SystemError("write", this.#libc.errno(), `${this.#what} was not signalled`);
  }

  /**
   * Sets the counter to 0, and returns what it was.
   *
   * @throws {TypeError} Once it is disposed.
   */
  take(): number {
    const fd = this.#fd.number;
    if (this.#libc.read(fd, this.#bytes) === COUNTER_SIZE) {
      return Number(this.#counter.getBigUint64(0, true));
    }
    const errno = this.#libc.errno();
    if (errno === ERRNO.EAGAIN) return 0;
    throw new SystemError("read", errno, `${this.#what} was not read`);
  }

  /** Closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}
