import type { Libc, Pages } from "../../ffi/libc.ts";
import { contentBytes } from "./address_space.ts";
import type { MemoryInput, SlotLayout } from "../exits/input_record.ts";
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
import { DirtyLog, type DirtyPages } from "./dirty_pages.ts";
import { mapPages } from "./map_pages.ts";
import {
  type MemoryImage,
  type MemoryObserver,
  type MemorySlots,
  type SlotInit,
  storePiece,
} from "./physical_memory.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { allocatePages, partOf } from "../../ffi/pages.ts";
import { KVM_PRIVATE_PAGES } from "../../x86/layout.ts";
import { formatAddress } from "../../x86/hex.ts";
import { TrackedPages } from "./tracked_pages.ts";

/** Bits 16 and up of a slot's number in KVM say which address space it is in (api.rst 4.35). */
const ADDRESS_SPACE_SHIFT = 16;

/** The address space that a CPU of x86 has in system-management mode; in all others it is 0. */
const SMM_ADDRESS_SPACE = 1;

/** Which memory a slot shows, and from which page of it on. */
interface Place {
  readonly memory: TrackedPages;
  readonly first: number;
}

/** The memory slots that a VM has now. */
export class SlotTable implements MemorySlots {
  readonly #libc: Libc;
  readonly #vm: Vm;
  /** The pages that the guest has written since the test asked for them last, by slot; undefined where it cannot ask. */
  readonly #dirty: Map<number, Set<number>> | undefined;
  readonly #addressSpaces: readonly number[];
  /** What notes the pages that the guest writes, and in which address spaces it does. */
  #dirtyPages: DirtyPages | undefined;
  #loggedSpaces: readonly number[] = [];
  #slots: readonly BackedSlot[] = [];
  /** What KVM has, by its numbers. */
  readonly #inKvm = new Map<number, BackedSlot>();
  /** The slots that there are by the test's own doing: without what the board puts in their place. */
  #ofTest: readonly BackedSlot[];
  /** What KVM has in place of slots while A20 is closed; undefined while it is open. */
  #closed: ClosedA20 | undefined;
  /** The memory of all slots that there were, in the order in which it was allocated: views of it live as long as the machine. */
  readonly #memory: TrackedPages[] = [];
  #observer: MemoryObserver | undefined;
  readonly #places = new WeakMap<BackedSlot, Place>();
  /** See {@linkcode MemorySlots.beforeView}. */
  beforeView: () => void = () => {};

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
    this.#dirty = dirtyPages === undefined ? undefined : new Map();
    this.#ofTest = slots;
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
    this.#log([0]);
  }

  /** Has KVM note written pages in these address spaces. */
  #log(spaces: readonly number[]): void {
    const before = this.#loggedSpaces;
    this.#loggedSpaces = spaces;
    for (const [number, slot] of [...this.#inKvm]) {
      if (!before.includes(spaceOf(number)) && this.#isLogged(number, slot)) {
        this.#setIn(spaceOf(number), slot);
      }
    }
  }

  #isLogged(number: number, { readonly }: BackedSlot): boolean {
    return !readonly && this.#loggedSpaces.includes(spaceOf(number));
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
      // It is there from the start, before anybody hears of that memory.
      if (options.content !== undefined) slot.pages.wrote(0, contentBytes(options.content).length);
      this.#ofTest = [...this.#ofTest, slot];
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
      this.#ofTest = [...this.#ofTest.filter((each) => each !== current), moved];
      return moved;
    });
  }

  /** See {@linkcode PhysicalMemory.deleteSlot}. */
  delete(slot: MemorySlot): void {
    const current = this.#find(slot, "delete");
    this.#withOpenA20(() => this.#delete(current));
    this.#ofTest = this.#ofTest.filter((each) => each !== current);
  }

  #delete(slot: BackedSlot): void {
    this.#deleteIn(slot);
    this.#dirty?.delete(slot.slot);
    this.#slots = this.#slots.filter((each) => each !== slot);
  }

  /**
   * Whether address line 20 reaches memory. Where it does not, KVM has each even megabyte once more in place of the odd
   * one above. The test sees memory as it is either way.
   */
  get a20(): boolean {
    return this.#closed === undefined;
  }

  set a20(open: boolean) {
    if (open === this.a20) return;
    this.#setA20(open);
    this.#tell();
  }

  #setA20(open: boolean): void {
    if (open === this.a20) return;
    const closed = this.#closed ??
      closeA20(this.#slots, this.#vm.capability("KVM_CAP_NR_MEMSLOTS"));
    const [gone, there] = open ? [closed.pieces, closed.hidden] : [closed.hidden, closed.pieces];
    for (const slot of gone) this.#deleteIn(slot);
    for (const slot of there) this.#setInAll(slot);
    this.#closed = open ? undefined : closed;
  }

  /** Slots change where all of them are there; afterwards the gate is as it was. */
  #withOpenA20<Result>(change: () => Result): Result {
    const { a20 } = this;
    this.#setA20(true);
    try {
      return change();
    } finally {
      this.#setA20(a20);
      this.#tell();
    }
  }

  #setInAll(slot: BackedSlot): void {
    for (const space of this.#addressSpaces) this.#setIn(space, slot);
  }

  #deleteIn({ slot }: BackedSlot): void {
    for (const space of this.#addressSpaces) {
      const number = numberIn(space, slot);
      // What KVM knows of written pages goes with the slot.
      this.#takeDirty(number);
      this.#vm.deleteMemorySlot(number);
      this.#inKvm.delete(number);
    }
  }

  /** Notes the pages of a slot in KVM that the guest has written. */
  #takeDirty(number: number): void {
    const slot = this.#inKvm.get(number);
    if (slot === undefined || !this.#isLogged(number, slot)) return;
    const pages = this.#dirtyPages!.take(number);
    if (pages.length === 0) return;
    const { memory, first } = this.#placeOf(slot);
    for (const page of pages) memory.guestWrote(first + page);
    if (this.#dirty === undefined || number !== slot.slot) return;
    const whole = slot.part?.of ?? slot;
    const start = (slot.part?.start ?? 0) / PAGE_SIZE;
    const dirty = this.#dirty.get(whole.slot) ?? new Set();
    for (const page of pages) dirty.add(start + page);
    this.#dirty.set(whole.slot, dirty);
  }

  #takeAllDirty(): void {
    for (const number of this.#inKvm.keys()) this.#takeDirty(number);
  }

  /** Which memory a slot shows, and from which page of it on. */
  #placeOf(slot: BackedSlot): Place {
    const known = this.#places.get(slot);
    if (known !== undefined) return known;
    const { address, bytes } = slot.pages;
    const memory = this.#memory.find((each) =>
      each.address <= address &&
      address + BigInt(bytes.length) <= each.address + BigInt(each.bytes.length)
    )!;
    const place = { memory, first: Number(address - memory.address) / PAGE_SIZE };
    this.#places.set(slot, place);
    return place;
  }

  /** See {@linkcode MemorySlots.hasViews}. */
  get hasViews(): boolean {
    return this.#memory.some((memory) => memory.hasViews);
  }

  /** See {@linkcode MemorySlots.observe}. */
  observe(observer: MemoryObserver): void {
    this.#observer = observer;
    for (const number of this.#memory.keys()) this.#observeWrites(number, observer);
  }

  #observeWrites(number: number, observer: MemoryObserver): void {
    this.#memory[number].observer = (start, bytes) => observer.wrote(number, start, bytes);
  }

  #tell(): void {
    this.#observer?.placed({
      a20: this.a20,
      slots: this.#slots.map((each) => {
        const { memory, first } = this.#placeOf(each);
        const { slot, gpa, size, readonly } = each;
        const number = this.#memory.indexOf(memory);
        return { slot, gpa, size, readonly, memory: number, start: first * PAGE_SIZE };
      }),
    });
  }

  #place({ slots, a20 }: SlotLayout): void {
    this.#setA20(true);
    const isThere = (one: BackedSlot, { memory, start, ...other }: SlotLayout["slots"][number]) => {
      const place = this.#placeOf(one);
      return one.slot === other.slot && one.gpa === other.gpa && one.size === other.size &&
        one.readonly === other.readonly && place.memory === this.#memory[memory] &&
        place.first * PAGE_SIZE === start;
    };
    for (const one of this.#slots) {
      if (!slots.some((other) => isThere(one, other))) this.#delete(one);
    }
    for (const other of slots) {
      if (this.#slots.some((one) => isThere(one, other))) continue;
      const { slot, gpa, size, readonly, memory, start } = other;
      this.#set(slotOf(slot, gpa, readonly, partOf(this.#memory[memory], start, size)));
    }
    this.#setA20(a20);
  }

  /** See {@linkcode MemorySlots.take}. */
  take(input: MemoryInput): void {
    if (input.kind === "allocated") this.allocate(input.size);
    else if (input.kind === "slots") this.#place(input.layout);
    else {
      const { memory, start, bytes } = input;
      storePiece({ pages: this.#memory[memory], start, length: bytes.length }, bytes);
    }
  }

  /** What all memory holds now, and which slots show it. The first time, KVM begins to note written pages. */
  save(): MemoryImage {
    if (this.#loggedSpaces.length < this.#addressSpaces.length) {
      this.#dirtyPages ??= new DirtyLog(this.#vm);
      this.#log(this.#addressSpaces);
    }
    this.#takeAllDirty();
    return {
      contents: this.#memory.map((memory) => memory.save()),
      slots: this.#ofTest,
      a20: this.a20,
      dirty: [...this.#dirty ?? []].map(([slot, pages]) => [slot, [...pages]]),
    };
  }

  /**
   * Makes memory what it was then.
   *
   * @returns How many pages were written.
   */
  restore({ contents, a20, dirty }: MemoryImage): number {
    this.a20 = a20;
    this.#takeAllDirty();
    const isNoted = this.#addressSpaces.every((space) => this.#loggedSpaces.includes(space));
    let count = 0;
    for (const [index, memory] of this.#memory.entries()) {
      count += memory.restore(contents[index], isNoted);
    }
    this.#dirty?.clear();
    for (const [slot, pages] of dirty) this.#dirty?.set(slot, new Set(pages));
    return count;
  }

  /**
   * See {@linkcode MemorySlots.dropPageTables}. KVM does that where any slot goes (`kvm_mmu_zap_all_fast` in
   * arch/x86/kvm/mmu/mmu.c).
   */
  dropPageTables(): void {
    using pages = allocatePages(this.#libc, PAGE_SIZE);
    const slot = Math.max(-1, ...this.#inKvm.keys()) + 1;
    const end = Math.max(0, ...Array.from(this.#inKvm.values(), ({ gpa, size }) => gpa + size));
    const gpa = Math.max(end, KVM_PRIVATE_PAGES.end);
    this.#vm.setMemorySlot({ slot, gpa, pages });
    this.#vm.deleteMemorySlot(slot);
  }

  /** See {@linkcode MemorySlots.checkIsRestorable}. */
  checkIsRestorable({ slots }: MemoryImage, ofAnother = false): void {
    if (slots === this.#ofTest) return;
    const isThere = (all: readonly BackedSlot[], one: BackedSlot) =>
      all.some((each) =>
        each.gpa === one.gpa && each.readonly === one.readonly &&
        (ofAnother ? each.size === one.size : each.pages === one.pages)
      );
    const gone = slots.filter((slot) => !isThere(this.#ofTest, slot));
    const added = this.#ofTest.filter((slot) => !isThere(slots, slot));
    if (gone.length === 0 && added.length === 0) return;
    const list = (what: string, some: readonly BackedSlot[]) =>
      some.map((slot) => `${what} ${describeSlot(slot)}`);
    throw new RangeError(
      "Cannot restore the snapshot: the machine's memory slots are not those that it had then; it had then " +
        `${list("", gone).join(", ").trim() || "none"} and now ${
          list("", added).join(", ").trim() || "none"
        }`,
    );
  }

  /** See {@linkcode PhysicalMemory.dirty}. */
  dirty(keep: boolean): number[] {
    if (this.#dirty !== undefined) {
      this.#takeAllDirty();
      const addresses = this.#slots.flatMap(({ slot, gpa }) =>
        [...this.#dirty!.get(slot) ?? []].sort((a, b) => a - b).map((page) =>
          gpa + page * PAGE_SIZE
        )
      );
      if (!keep) this.#dirty.clear();
      return addresses;
    }
    throw new TypeError(
      "Cannot tell which pages the guest wrote: they are not noted. Boot with the option " +
        '`dirtyPages: "log"` or `"ring"`.',
    );
  }

  /** See {@linkcode MemorySlots.allocate}. */
  allocate(size: number): Pages {
    const pages = new TrackedPages(allocatePages(this.#libc, size));
    this.#keep(pages);
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

  #keep(pages: TrackedPages): void {
    const number = this.#memory.push(pages) - 1;
    pages.beforeView = () => this.beforeView();
    if (this.#observer === undefined) return;
    this.#observer.allocated(pages.bytes.length);
    this.#observeWrites(number, this.#observer);
  }

  #set(slot: BackedSlot): void {
    const { pages } = slot;
    if (pages instanceof TrackedPages && !this.#memory.includes(pages)) this.#keep(pages);
    const before = this.#slots.find((each) => each.slot === slot.slot);
    for (const space of this.#addressSpaces) {
      try {
        this.#setIn(space, slot);
      } catch (error) {
        // The guest has the same memory in all of them, or keeps what it had.
        for (const done of this.#addressSpaces.slice(0, this.#addressSpaces.indexOf(space))) {
          if (before !== undefined) this.#setIn(done, before);
          else {
            this.#vm.deleteMemorySlot(numberIn(done, slot.slot));
            this.#inKvm.delete(numberIn(done, slot.slot));
          }
        }
        throw error;
      }
    }
    this.#slots = [...this.#slots.filter((each) => each.slot !== slot.slot), slot]
      .sort((a, b) => a.gpa - b.gpa);
  }

  #setIn(space: number, slot: BackedSlot): void {
    const { gpa, readonly, pages } = slot;
    const number = numberIn(space, slot.slot);
    const logDirtyPages = this.#isLogged(number, slot);
    this.#vm.setMemorySlot({ slot: number, gpa, readonly, pages, logDirtyPages });
    this.#inKvm.set(number, slot);
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

function spaceOf(number: number): number {
  return number >> ADDRESS_SPACE_SHIFT;
}

function describeSlot({ slot, gpa, size }: BackedSlot): string {
  return `slot ${slot} at ${formatAddress(gpa)}–${formatAddress(gpa + size - 1)}`;
}
