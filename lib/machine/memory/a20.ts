import { partOf } from "../../ffi/pages.ts";
import { type BackedSlot, slotOf } from "./memory_slots.ts";

/** What address line 20 tells apart. */
const MEGABYTE = 1 << 20;

/** Slots for KVM while A20 is closed. */
export interface ClosedA20 {
  /** Those that are not there for now. */
  readonly hidden: readonly BackedSlot[];
  /** What is there instead: the rest of those, and the lowest megabyte where the second was. */
  readonly pieces: readonly BackedSlot[];
}

/**
 * Works out what closing A20 does to slots: at 0x100000 is what is at 0. The other odd megabytes, which the gate of a PC
 * takes from the bus as well, stay: what runs with a closed gate is in real mode, and reaches no further.
 */
export function closeA20(slots: readonly BackedSlot[]): ClosedA20 {
  const hidden = slots.filter(({ gpa, size }) => gpa < 2 * MEGABYTE && gpa + size > MEGABYTE);
  const pieces: BackedSlot[] = [];
  const first = Math.max(...slots.map(({ slot }) => slot)) + 1;
  const add = (slot: BackedSlot, from: number, to: number, gpa: number) => {
    const start = Math.max(from, slot.gpa);
    const end = Math.min(to, slot.gpa + slot.size);
    if (end <= start) return;
    const pages = partOf(slot.pages, start - slot.gpa, end - start);
    pieces.push(slotOf(first + pieces.length, gpa + start - from, slot.readonly, pages));
  };
  for (const slot of hidden) {
    add(slot, 0, MEGABYTE, 0);
    add(slot, 2 * MEGABYTE, Infinity, 2 * MEGABYTE);
  }
  for (const slot of slots) add(slot, 0, MEGABYTE, MEGABYTE);
  return { hidden, pieces };
}
