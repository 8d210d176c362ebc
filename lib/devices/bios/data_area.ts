import { BIOS } from "../../x86/layout.ts";
import type { DeviceMemory } from "../device.ts";

/** The BIOS data area of a machine: words of 16 bits by their offset (IBM PC/AT Technical Reference, "BIOS Data Area"). */
export class BiosDataArea {
  readonly #memory: DeviceMemory;

  /** That of a machine with this memory. */
  constructor(memory: DeviceMemory) {
    this.#memory = memory;
  }

  /** A word. */
  get(offset: number): number {
    const [low, high] = this.#memory.read(BIOS.dataArea + offset, 2);
    return low | high << 8;
  }

  /** Sets a word. */
  set(offset: number, word: number): void {
    this.#memory.write(BIOS.dataArea + offset, Uint8Array.of(word & 0xff, word >> 8));
  }
}
