import type { DeviceRom } from "../../devices/device.ts";
import type { Pages } from "../../ffi/libc.ts";
import { type BackedSlot, checkPlace } from "./memory_slots.ts";
import { type MemorySlots, pieceBytes, storePiece } from "./physical_memory.ts";

/** Memory of a device's that the guest may read: see {@linkcode DeviceBoard.placeRom}. */
export class ReadonlyMemory implements DeviceRom {
  readonly #slots: MemorySlots;
  readonly #gpa: number;
  readonly #pages: Pages;
  #shown: readonly BackedSlot[] = [];

  /**
   * Memory that the guest sees.
   *
   * @throws {RangeError} When it is not made of whole pages, or other memory is there.
   */
  constructor(slots: MemorySlots, gpa: number, content: Uint8Array) {
    const size = content.length;
    checkPlace({ gpa, size, what: "the device's memory" }, slots.slots);
    this.#slots = slots;
    this.#gpa = gpa;
    this.#pages = slots.allocate(size);
    this.write(0, content);
    this.isShown = true;
  }

  /** See {@linkcode DeviceRom.isShown}. */
  get isShown(): boolean {
    return this.#shown.length > 0;
  }

  set isShown(shown: boolean) {
    if (shown === this.isShown) return;
    const there = [{ gpa: this.#gpa, readonly: true, pages: this.#pages }];
    this.#shown = this.#slots.replace(this.#shown, shown ? there : []);
  }

  /** See {@linkcode DeviceRom.read}. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return pieceBytes({ pages: this.#pages, start: offset, length }).slice();
  }

  /** See {@linkcode DeviceRom.write}. */
  write(offset: number, bytes: Uint8Array): void {
    storePiece({ pages: this.#pages, start: offset, length: bytes.length }, bytes);
  }
}
