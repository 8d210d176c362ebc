import type { Libc } from "./libc.ts";
import { countHandle } from "./open_handles.ts";

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
    if (this.#fd < 0) throw new TypeError(`Cannot use ${this.#what}: it is disposed`);
    return this.#fd;
  }

  /** Whether it is not yet disposed. */
  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** Closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    countHandle("fds", -1);
    // The result is of no use: Linux frees the descriptor even when close(2) fails.
    this.#libc.close(fd);
  }
}
