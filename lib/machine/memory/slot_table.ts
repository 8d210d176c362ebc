import type { Libc } from "../../ffi/libc.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { SlotOptions } from "../boot/boot_options.ts";
import type { DirtyPages } from "./dirty_pages.ts";
import { type AllocatedSlot, checkPlace, createSlot } from "./memory_slots.ts";
import type { MemorySlot, MemorySlots } from "./physical_memory.ts";

/** Bits 16 and up of a slot's number in KVM say which address space it is in (api.rst 4.35). */
const ADDRESS_SPACE_SHIFT = 16;

/** The address space that a CPU of x86 has in system-management mode; in all others it is 0. */
const SMM_ADDRESS_SPACE = 1;

/** The memory slots that a VM has now. */
export class SlotTable implements MemorySlots {
  readonly #libc: Libc;
  readonly #vm: Vm;
  readonly #dirtyPages: DirtyPages | undefined;
  readonly #addressSpaces: readonly number[];
  #slots: readonly AllocatedSlot[] = [];

  /**
   * Gives a VM its first slots.
   *
   * @param dirtyPages Notes the pages that the guest writes, outside system-management mode.
   * @param inSmm Whether the guest has the same memory in system-management mode; otherwise it has none there.
   */
  constructor(
    libc: Libc,
    vm: Vm,
    slots: readonly AllocatedSlot[],
    dirtyPages: DirtyPages | undefined,
    inSmm: boolean,
  ) {
    this.#libc = libc;
    this.#vm = vm;
    this.#dirtyPages = dirtyPages;
    this.#addressSpaces = inSmm ? [0, SMM_ADDRESS_SPACE] : [0];
    for (const slot of slots) this.#set(slot);
  }

  /** The slots, by address. */
  get slots(): readonly MemorySlot[] {
    return this.#slots;
  }

  /** See {@linkcode PhysicalMemory.addSlot}. */
  add(options: SlotOptions): MemorySlot {
    const slot = createSlot(this.#libc, this.#freeNumber(), options, this.#slots);
    this.#set(slot);
    return slot;
  }

  /** See {@linkcode PhysicalMemory.moveSlot}. */
  move(slot: MemorySlot, gpa: number): MemorySlot {
    const current = this.#find(slot, "move");
    const others = this.#slots.filter((each) => each !== current);
    checkPlace({ gpa, size: current.bytes.length, what: `slot ${current.slot}` }, others);
    const moved = { ...current, gpa };
    this.#set(moved);
    return moved;
  }

  /** See {@linkcode PhysicalMemory.deleteSlot}. */
  delete(slot: MemorySlot): void {
    const current = this.#find(slot, "delete");
    for (const space of this.#addressSpaces) {
      this.#vm.deleteMemorySlot(numberIn(space, current.slot));
    }
    this.#slots = this.#slots.filter((each) => each !== current);
  }

  /** See {@linkcode PhysicalMemory.dirty}. */
  dirty(keep: boolean): number[] {
    if (this.#dirtyPages !== undefined) return this.#dirtyPages.collect(this.#slots, keep);
    throw new TypeError(
      "Cannot tell which pages the guest wrote: they are not noted. Boot with the option " +
        '`dirtyPages: "log"` or `"ring"`.',
    );
  }

  #set(slot: AllocatedSlot): void {
    const notesWrites = this.#dirtyPages !== undefined && !slot.readonly;
    for (const space of this.#addressSpaces) {
      const logDirtyPages = notesWrites && space === 0;
      this.#vm.setMemorySlot({ ...slot, slot: numberIn(space, slot.slot), logDirtyPages });
    }
    this.#slots = [...this.#slots.filter((each) => each.slot !== slot.slot), slot]
      .sort((a, b) => a.gpa - b.gpa);
  }

  #find(slot: MemorySlot, verb: string): AllocatedSlot {
    const found = this.#slots.find((each) => each === slot);
    if (found !== undefined) return found;
    throw new RangeError(
      `Cannot ${verb} slot ${slot.slot}: this machine does not have it. Take it from vm.memory.slots, or use ` +
        "what addSlot() or moveSlot() returned last.",
    );
  }

  #freeNumber(): number {
    const used = new Set(this.#slots.map(({ slot }) => slot));
    let number = 0;
    while (used.has(number)) number++;
    return number;
  }
}

function numberIn(addressSpace: number, slot: number): number {
  return addressSpace << ADDRESS_SPACE_SHIFT | slot;
}
