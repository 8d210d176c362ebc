import type { Bus } from "../../devices/bus.ts";
import type { MmioHandler } from "../../devices/handlers.ts";
import type { ShadowAccess } from "../../devices/device.ts";
import { openBusMmio } from "../../devices/open_bus.ts";
import type { Pages } from "../../ffi/libc.ts";
import { partOf } from "../../ffi/pages.ts";
import { SHADOW_RAM } from "../../x86/layout.ts";
import type { BackedSlot } from "./memory_slots.ts";
import { type MemorySlots, type SlotInit, storePiece } from "./physical_memory.ts";

/** Segments one behind the other whose accesses go the same way. */
interface Run extends ShadowAccess {
  readonly start: number;
  readonly end: number;
}

const { start: FIRST, end: END, segment: SEGMENT } = SHADOW_RAM;

const NOT_SHADOWED: ShadowAccess = { read: false, write: false };

/**
 * The RAM of a PC at 0xc0000–0xfffff, which shows in place of ROM as its host bridge says. RAM that the machine has there
 * anyway stays as it is.
 */
export class ShadowRam {
  readonly #slots: MemorySlots;
  readonly #mmio: Bus<MmioHandler>;
  #segments: readonly ShadowAccess[] = Array.from(
    { length: (END - FIRST) / SEGMENT },
    () => NOT_SHADOWED,
  );
  #ram: Pages | undefined;
  /** The ROM that lies there without shadow RAM. */
  #rom: readonly BackedSlot[] = [];
  /** The slots that stand for both. */
  #placed: readonly BackedSlot[] = [];
  #claims: Disposable[] = [];

  /** RAM that does not show. */
  constructor(slots: MemorySlots, mmio: Bus<MmioHandler>) {
    this.#slots = slots;
    this.#mmio = mmio;
  }

  /** See {@linkcode DeviceBoard.shadow}. */
  set(segments: readonly ShadowAccess[]): void {
    if (segments === this.#segments) return;
    const hasChanged = segments.some(({ read, write }, index) => {
      const before = this.#segments[index];
      return before.read !== read || before.write !== write;
    });
    this.#segments = segments;
    if (hasChanged) this.#place();
  }

  /** Which accesses go to it now. */
  get segments(): readonly ShadowAccess[] {
    return this.#segments;
  }

  #place(): void {
    for (const claim of this.#claims.splice(0)) claim[Symbol.dispose]();
    if (this.#ram === undefined) {
      this.#ram = this.#slots.allocate(END - FIRST);
      this.#rom = this.#placed = this.#slots.slots.filter((slot) => slot.readonly && meets(slot));
    }
    const runs = this.#runs();
    this.#placed = this.#slots.replace(
      this.#placed,
      runs.flatMap((run) => this.#slotsOf(run, this.#ram!)),
    );
    for (const run of runs) {
      if (run.write && !run.read) this.#claimWrites(run, this.#ram);
    }
  }

  /** What there is from the first ROM on to the end of the last, without the RAM that is there anyway. */
  #runs(): Run[] {
    const others = this.#slots.slots.filter((slot) => !this.#placed.includes(slot) && meets(slot));
    const runs: Run[] = this.#rom.filter(({ gpa }) => gpa < FIRST)
      .map(({ gpa }) => ({ ...NOT_SHADOWED, start: gpa, end: FIRST }));
    this.#segments.forEach(({ read, write }, index) => {
      const start = FIRST + index * SEGMENT;
      const end = start + SEGMENT;
      if (others.some(({ gpa, size }) => gpa < end && gpa + size > start)) return;
      const last = runs.at(-1);
      const goesOn = last?.end === start && last.read === read && last.write === write;
      if (goesOn) runs[runs.length - 1] = { ...last, end };
      else runs.push({ read, write, start, end });
    });
    const ends = this.#rom.map(({ gpa, size }) => gpa + size).filter((end) => end > END);
    return [...runs, ...ends.map((end) => ({ ...NOT_SHADOWED, start: END, end }))];
  }

  #slotsOf({ read, write, start, end }: Run, ram: Pages): SlotInit[] {
    if (read) {
      return [{ gpa: start, readonly: !write, pages: partOf(ram, start - FIRST, end - start) }];
    }
    return this.#rom.flatMap(({ gpa, size, pages }) => {
      const from = Math.max(start, gpa);
      const to = Math.min(end, gpa + size);
      if (to <= from) return [];
      return [{ gpa: from, readonly: true, pages: partOf(pages, from - gpa, to - from) }];
    });
  }

  /** Takes the writes to segments whose reads go elsewhere, as firmware copies itself into RAM. */
  #claimWrites({ start, end }: Run, pages: Pages): void {
    try {
      this.#claims.push(this.#mmio.on([start, end - 1], {
        name: "shadow RAM",
        read: openBusMmio.read,
        write: (address, value, size) => {
          const bytes = new Uint8Array(8);
          new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
          const length = Math.min(size, end - address);
          storePiece({ pages, start: address - FIRST, length }, bytes.subarray(0, length));
        },
      }));
    } catch (error) {
      // Another device has addresses there: the guest has made a conflict, and that device answers.
      if (!(error instanceof RangeError)) throw error;
    }
  }
}

function meets({ gpa, size }: BackedSlot): boolean {
  return gpa < END && gpa + size > FIRST;
}
