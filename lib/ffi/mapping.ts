import type { Libc } from "./libc.ts";
import { MAP, MAP_FAILED, PROT } from "./mman.ts";
import { countHandle } from "./open_handles.ts";
import { SystemError } from "./system_error.ts";

const UNMAPPED = new DataView(new ArrayBuffer(0));

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

  /**
   * Maps `length` bytes of `fd`, readable and writable, from `offset` on, a multiple of 4096.
   *
   * @throws {SystemError} When the kernel refuses.
   */
  constructor(libc: Libc, fd: number, length: number, what: string, offset: number = 0) {
    const address = libc.mmap(length, PROT.READ | PROT.WRITE, MAP.SHARED, fd, offset);
    if (address === MAP_FAILED) {
      throw new SystemError("mmap", libc.errno(), `${length} bytes of ${what} were not mapped`);
    }
    this.#libc = libc;
    this.#address = address;
    this.#length = length;
    this.#view = new DataView(libc.memory(address, length));
    countHandle("mappings", 1);
  }

  /** The mapped bytes; an empty view once disposed. Take it anew after each call that may dispose. */
  get view(): DataView<ArrayBuffer> {
    return this.#view;
  }

  /** Unmaps it; a second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#view === UNMAPPED) return;
    this.#view = UNMAPPED;
    countHandle("mappings", -1);
    this.#libc.munmap(this.#address, this.#length);
  }
}
