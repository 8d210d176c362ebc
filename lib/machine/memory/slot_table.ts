import type { Libc, Pages } from "../../ffi/libc.ts";
import type { Vm } from "../../kvm/vm.ts";
import {
  type BackedSlot,
  checkPlace,
  createSlot,
  type MemorySlot,
  slotOf,
  type SlotOptions,
} from "./memory_slots.ts";
import { closeA20, type ClosedA20 } from "./a20.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { DirtyPages } from "./dirty_pages.ts";
import { type MemorySlots, pieceBytes, type SlotInit, storePiece } from "./physical_memory.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { allocatePages } from "../../ffi/pages.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { describeExit } from "../../kvm/exits/describe_exit.ts";
import { unrealMode } from "../../x86/boot/modes/real.ts";

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
  #notesWrites = false;
  #slots: readonly BackedSlot[] = [];
  /** What KVM has in place of slots while A20 is closed; undefined while it is open. */
  #closed: ClosedA20 | undefined;
  /** The memory of all slots that there were: views of it live as long as the machine. */
  readonly #memory = new Set<Pages>();

  /**
   * Gives a VM its first slots.
   *
   * @param dirtyPages Notes the pages that the guest writes, outside system-management mode.
   * @param inSmm Whether the guest has the same memory in system-management mode; otherwise it has none there.
   */
  constructor(
    libc: Libc,
    vm: Vm,
    slots: readonly BackedSlot[],
    dirtyPages: DirtyPages | undefined,
    inSmm: boolean,
  ) {
    this.#libc = libc;
    this.#vm = vm;
    this.#dirtyPages = dirtyPages;
    this.#addressSpaces = inSmm ? [0, SMM_ADDRESS_SPACE] : [0];
    for (const slot of slots) this.#set(slot);
  }

  /**
   * Begins to note the pages that the guest writes, if it is to.
   *
   * @param vcpu One that has not run, and whose registers are still to be set.
   */
  noteWrites(vcpu: Vcpu): void {
    if (this.#dirtyPages === undefined) return;
    const written = this.#slots.filter(({ readonly }) => !readonly);
    mapPages(this.#vm, vcpu, written);
    this.#notesWrites = true;
    for (const slot of written) this.#set(slot);
  }

  /** The slots, by address. */
  get slots(): readonly BackedSlot[] {
    return this.#slots;
  }

  /** See {@linkcode PhysicalMemory.addSlot}. */
  add(options: SlotOptions): MemorySlot {
    return this.#withOpenA20(() => {
      const slot = createSlot(this.#libc, this.#freeNumber(), options, this.#slots);
      this.#set(slot);
      return slot;
    });
  }

  /** See {@linkcode PhysicalMemory.moveSlot}. */
  move(slot: MemorySlot, gpa: number): MemorySlot {
    const current = this.#find(slot, "move");
    const others = this.#slots.filter((each) => each !== current);
    checkPlace({ gpa, size: current.size, what: `slot ${current.slot}` }, others);
    const moved = slotOf(current.slot, gpa, current.readonly, current.pages);
    return this.#withOpenA20(() => {
      this.#set(moved);
      return moved;
    });
  }

  /** See {@linkcode PhysicalMemory.deleteSlot}. */
  delete(slot: MemorySlot): void {
    const current = this.#find(slot, "delete");
    this.#withOpenA20(() => this.#delete(current));
  }

  #delete(slot: BackedSlot): void {
    this.#dirtyPages?.forget(slot.slot);
    this.#deleteIn(slot);
    this.#slots = this.#slots.filter((each) => each !== slot);
  }

  /**
   * Whether address line 20 reaches memory. Where it does not, KVM has the lowest megabyte once more in place of the
   * second. The test sees memory as it is either way. Where written pages are noted, which are those of slots, it stays
   * open.
   */
  get a20(): boolean {
    return this.#closed === undefined;
  }

  set a20(open: boolean) {
    if (open === this.a20 || this.#dirtyPages !== undefined) return;
    if (this.#closed !== undefined) {
      const { hidden, pieces } = this.#closed;
      this.#closed = undefined;
      for (const piece of pieces) this.#deleteIn(piece);
      for (const slot of hidden) this.#setInAll(slot);
      return;
    }
    const closed = closeA20(this.#slots);
    for (const slot of closed.hidden) this.#deleteIn(slot);
    for (const piece of closed.pieces) this.#setInAll(piece);
    this.#closed = closed;
  }

  /** Slots change where all of them are there; afterwards the gate is as it was. */
  #withOpenA20<Result>(change: () => Result): Result {
    const { a20 } = this;
    this.a20 = true;
    try {
      return change();
    } finally {
      this.a20 = a20;
    }
  }

  #setInAll(slot: BackedSlot): void {
    for (const space of this.#addressSpaces) this.#setIn(space, slot);
  }

  #deleteIn({ slot }: BackedSlot): void {
    for (const space of this.#addressSpaces) this.#vm.deleteMemorySlot(numberIn(space, slot));
  }

  /** See {@linkcode PhysicalMemory.dirty}. */
  dirty(keep: boolean): number[] {
    if (this.#dirtyPages !== undefined) return this.#dirtyPages.collect(this.#slots, keep);
    throw new TypeError(
      "Cannot tell which pages the guest wrote: they are not noted. Boot with the option " +
        '`dirtyPages: "log"` or `"ring"`.',
    );
  }

  /** See {@linkcode MemorySlots.allocate}. */
  allocate(size: number): Pages {
    const pages = allocatePages(this.#libc, size);
    this.#memory.add(pages);
    return pages;
  }

  /** See {@linkcode MemorySlots.replace}. */
  replace(gone: readonly BackedSlot[], there: readonly SlotInit[]): BackedSlot[] {
    return this.#withOpenA20(() => {
      for (const slot of gone) if (this.#slots.includes(slot)) this.#delete(slot);
      return there.map(({ gpa, readonly, pages }) => {
        const slot = slotOf(this.#freeNumber(), gpa, readonly, pages);
        this.#set(slot);
        return slot;
      });
    });
  }

  /** Ends the memory. Of a VM that is closed. */
  [Symbol.dispose](): void {
    for (const pages of this.#memory) pages[Symbol.dispose]();
  }

  #set(slot: BackedSlot): void {
    this.#memory.add(slot.pages);
    const before = this.#slots.find((each) => each.slot === slot.slot);
    for (const space of this.#addressSpaces) {
      try {
        this.#setIn(space, slot);
      } catch (error) {
        // The guest has the same memory in all of them, or keeps what it had.
        for (const done of this.#addressSpaces.slice(0, this.#addressSpaces.indexOf(space))) {
          if (before !== undefined) this.#setIn(done, before);
          else this.#vm.deleteMemorySlot(numberIn(done, slot.slot));
        }
        throw error;
      }
    }
    this.#slots = [...this.#slots.filter((each) => each.slot !== slot.slot), slot]
      .sort((a, b) => a.gpa - b.gpa);
  }

  #setIn(space: number, { slot, gpa, readonly, pages }: BackedSlot): void {
    const logDirtyPages = this.#notesWrites && !readonly && space === 0;
    this.#vm.setMemorySlot({ slot: numberIn(space, slot), gpa, readonly, pages, logDirtyPages });
  }

  #find(slot: MemorySlot, verb: string): BackedSlot {
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

/** Where the reader lies meanwhile, in the main memory. */
const READER_ENTRY = 0x500;

/** `next: mov al, [esi]` · `add esi, 4096` · `cmp esi, edi` · `jb next` · `out 0x80, al`, as 16-bit code. */
// deno-fmt-ignore
const READER = Uint8Array.of(
  0x67, 0x8a, 0x06, 0x66, 0x81, 0xc6, 0x00, 0x10, 0x00, 0x00, 0x66, 0x39, 0xfe, 0x72, 0xf1, 0xe6, 0x80,
);

/** How much is mapped where the guest has to do it: a page takes an exit of the processor, if none of KVM's. */
const MOST_READ = 32 * 1024 * 1024;

/** The reader's addresses have 32 bits. */
const READABLE_END = 2 ** 32 - PAGE_SIZE;

/**
 * Has KVM map the pages of some slots before their writes are noted.
 *
 * KVM maps a page writable where it can, also when the guest only reads it, and counts it as written if writes are
 * noted at that time (`make_spte` in arch/x86/kvm/mmu/spte.c). Of a page that is mapped by then it notes the first
 * write, and nothing else. Where the kernel has no call for it (KVM_CAP_PRE_FAULT_MEMORY, Linux 6.11), the vCPU reads
 * the pages before it gets its state.
 *
 * @param vcpu One that has not run, and whose registers are still to be set.
 * @param slots One of them has memory where the reader lies.
 */
function mapPages(vm: Vm, vcpu: Vcpu, slots: readonly BackedSlot[]): void {
  if (vm.capability("KVM_CAP_PRE_FAULT_MEMORY") > 0) {
    for (const { gpa, size } of slots) vcpu.preFaultMemory(gpa, size);
    return;
  }
  const home = slots.find(({ gpa, size }) =>
    gpa <= READER_ENTRY && READER_ENTRY + READER.length <= gpa + size
  );
  if (home === undefined) {
    throw new TypeError(
      "Cannot note which pages the guest writes: a kernel without KVM_CAP_PRE_FAULT_MEMORY (Linux 6.11) needs RAM at " +
        `0x${
          READER_ENTRY.toString(16)
        } for that. Give the machine some, or leave out \`dirtyPages\`.`,
    );
  }
  const place = { pages: home.pages, start: READER_ENTRY - home.gpa, length: READER.length };
  const before = pieceBytes(place).slice();
  storePiece(place, READER);
  let rest = MOST_READ;
  for (const { gpa, size } of slots) {
    const end = Math.min(gpa + size, gpa + rest, READABLE_END);
    if (end <= gpa) continue;
    rest -= end - gpa;
    read(vcpu, gpa, end);
  }
  storePiece(place, before);
}

/** Runs the reader over the pages of a range. */
function read(vcpu: Vcpu, start: number, end: number): void {
  const { registers, specialRegisters } = unrealMode({ entry: READER_ENTRY });
  vcpu.registers.setSregs({ ...vcpu.registers.getSregs(), ...specialRegisters });
  vcpu.registers.setRegs({ ...registers, rsi: BigInt(start), rdi: BigInt(end) });
  const { kvmRun } = vcpu;
  while (vcpu.run() !== 0);
  if (kvmRun.exitReason !== EXIT_REASON.IO) {
    throw new Error(`The pages of memory could not be mapped: ${describeExit(kvmRun.exit())}`);
  }
  // Finished, so that KVM does not step over an instruction of the guest's instead.
  kvmRun.immediateExit = true;
  vcpu.run();
  kvmRun.immediateExit = false;
}
