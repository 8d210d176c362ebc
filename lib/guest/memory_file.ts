import { ERRNO, SystemError } from "../ffi/errors.ts";
import { MFD, SEEK } from "../ffi/files.ts";
import type { Libc } from "../ffi/libc.ts";
import { OwnedFd } from "../ffi/handles.ts";

/**
 * A file that exists in memory alone (`memfd_create(2)`), which a child process opens by its path. It needs no
 * permission for files, leaves nothing on a disk, and is gone when it is disposed or the process ends.
 */
export class MemoryFile implements Disposable {
  /** The path under which another process of this user opens it. */
  readonly path: string;
  readonly #libc: Libc;
  readonly #fd: OwnedFd;

  /**
   * @param name For messages and `/proc`.
   * @param content What it holds at the start.
   * @throws {SystemError} When the descriptors or the memory are used up.
   */
  constructor(libc: Libc, name: string, content?: Uint8Array<ArrayBuffer>) {
    const fd = libc.memfd_create(name, MFD.CLOEXEC);
    if (fd < 0) {
      throw new SystemError("memfd_create", libc.errno(), `a file in memory for ${name}`);
    }
    this.#libc = libc;
    this.#fd = new OwnedFd(libc, fd, name);
    // By the process's number and not by /proc/self, which in the child would be the child's own.
    this.path = `/proc/${Deno.pid}/fd/${fd}`;
    if (content !== undefined) this.#fill(content, name);
  }

  /** All that it holds now. @throws {SystemError} When it cannot be read. */
  read(): Uint8Array<ArrayBuffer> {
    const size = this.#libc.lseek(this.#fd.number, 0, SEEK.END);
    if (size < 0) {
      throw new SystemError("lseek", this.#libc.errno(), "the size of a file in memory");
    }
    const content = new Uint8Array(size);
    if (this.#libc.pread(this.#fd.number, content, 0) !== size) {
      throw new SystemError("pread", this.#libc.errno(), "the content of a file in memory");
    }
    return content;
  }

  /** Frees it. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  #fill(content: Uint8Array<ArrayBuffer>, name: string): void {
    const written = this.#libc.write(this.#fd.number, content);
    if (written === content.length) return;
    const errno = written < 0 ? this.#libc.errno() : ERRNO.ENOSPC;
    this[Symbol.dispose]();
    throw new SystemError(
      "write",
      errno,
      `${content.length} bytes into a file in memory for ${name}`,
    );
  }
}
