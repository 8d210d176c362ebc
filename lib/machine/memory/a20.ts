import { partOf } from "../../ffi/pages.ts";
import { type BackedSlot, slotOf } from "./memory_slots.ts";

/** What address line 20 tells apart. */
const MEGABYTE = 1 << 20;
const EVEN_AND_ODD = 2 * MEGABYTE;

/** Slots for KVM while A20 is closed. */
export interface ClosedA20 {
  /** Those that are not there for now. */
  readonly hidden: readonly BackedSlot[];
  /** What is there instead: their even megabytes twice. */
  readonly pieces: readonly BackedSlot[];
}

/**
 * Works out what closing A20 does to slots: at each odd megabyte is the even one below. ROM behind the last RAM stays,
 * since there the machine starts.
 *
 * @param slots By address.
 * @param most How many slots KVM takes. What lies above half as many megabytes stays, too.
 */
export function closeA20(slots: readonly BackedSlot[], most: number): ClosedA20 {
  const ram = slots.filter(({ readonly }) => !readonly);
  const ramEnd = Math.max(0, ...ram.map(({ gpa, size }) => gpa + size));
  const end = Math.ceil(Math.min(ramEnd, most / 2 * MEGABYTE) / EVEN_AND_ODD) * EVEN_AND_ODD;
  const concerned = slots.filter(({ gpa, readonly }) => gpa < end && (!readonly || gpa < ramEnd));
  const staying = slots.filter((slot) => !concerned.includes(slot));
  const hidden = concerned.filter(({ gpa, size }) => evenMegabyte(gpa) + MEGABYTE < gpa + size);
  const pieces: BackedSlot[] = [];
  const first = Math.max(-1, ...slots.map(({ slot }) => slot)) + 1;
  const add = (slot: BackedSlot, from: number, to: number, distance: number) => {
    const start = Math.max(from, slot.gpa);
    const stop = Math.min(to, slot.gpa + slot.size);
    const gpa = start + distance;
    const isTaken = staying.some((each) =>
      each.gpa < stop + distance && gpa < each.gpa + each.size
    );
    if (stop <= start || isTaken) return;
    const part = { of: slot, start: start - slot.gpa };
    const pages = partOf(slot.pages, part.start, stop - start);
    const piece = slotOf(first + pieces.length, gpa, slot.readonly, pages);
    pieces.push(Object.assign(piece, { part }));
  };
  for (const slot of concerned) {
    const stop = Math.min(slot.gpa + slot.size, end);
    for (let even = evenMegabyte(slot.gpa); even < stop; even += EVEN_AND_ODD) {
      if (hidden.includes(slot)) add(slot, even, even + MEGABYTE, 0);
      add(slot, even, even + MEGABYTE, MEGABYTE);
    }
    if (hidden.includes(slot)) add(slot, end, Infinity, 0);
  }
  return { hidden, pieces };
}

/** The even megabyte that an address is in, or in whose odd neighbour. */
function evenMegabyte(gpa: number): number {
  return Math.floor(gpa / EVEN_AND_ODD) * EVEN_AND_ODD;
}
