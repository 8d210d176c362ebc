import { PAGE_SIZE } from "../../ffi/mman.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { MemorySlot } from "./memory_slots.ts";

/** How the pages that a guest writes are noted: see the option `dirtyPages` of `boot`. */
export type DirtyPagesOption = "log" | "ring" | { readonly ring: number };

/** Notes the pages that a guest writes. */
export interface DirtyPages extends Disposable {
  /** Takes a vCPU of the VM, once it is created. */
  attach(vcpu: Vcpu): void;
  /** Makes room for more, where room can run out. */
  harvest(): void;
  /** Forgets the pages of a slot that is to be deleted: its number may be used again. */
  forget(slot: number): void;
  /**
   * The guest physical addresses of the pages that were written since they were last made clean, in order.
   *
   * @param keep Whether they stay dirty.
   */
  collect(slots: readonly MemorySlot[], keep: boolean): number[];
}

/** Addresses of pages of a slot, by their numbers within it. */
export function pageAddress({ gpa }: MemorySlot, page: number): number {
  return gpa + page * PAGE_SIZE;
}
