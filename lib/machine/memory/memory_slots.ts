import { memoryLimit } from "../../ffi/memory_limit.ts";
import { HostError } from "../../ffi/errors.ts";
import type { Libc, Pages } from "../../ffi/libc.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { allocateHugePages, allocatePages, partOf } from "../../ffi/pages.ts";
import { KVM_PRIVATE_PAGES, LAST_PHYSICAL_ADDRESS, PC_MEMORY } from "../../x86/layout.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { contentBytes, liveBytes, type MemoryContent } from "./address_space.ts";
import { formatAddress } from "../../x86/hex.ts";
import { type Size, sizeInBytes } from "./size.ts";
import { TrackedPages } from "./tracked_pages.ts";

/** Memory beside the machine's main memory. */
export interface SlotOptions {
  /** The first guest physical address, a multiple of 4096. */
  readonly gpa: number;
  /** How much: a multiple of 4096. */
  readonly size: Size;
  /** Whether the guest's writes are refused, and arrive as MMIO exits: ROM. Needs KVM_CAP_READONLY_MEM. */
  readonly readonly?: boolean;
  /** What it holds at its start; zeros after that. */
  readonly content?: MemoryContent;
  /**
   * The physical address of other memory that it shows: two slots on one memory. The memory must lie in one
   * slot, the main memory or one before this.
   */
  readonly alias?: number;
  /** Whether the host is asked to give it large pages of 2 MiB, as for the main memory. Default false. */
  readonly hugePages?: boolean;
}

/** The names of a slot's options. */
export const SLOT_OPTIONS: NamesOf<SlotOptions> = {
  gpa: "value",
  size: "value",
  readonly: "flag",
  content: "value",
  alias: "value",
  hugePages: "flag",
};

/** Main memory with holes. */
export interface MemoryOptions {
  /** How much: a multiple of 4096. What would lie in the hole below 1 MiB is counted, and is not there, as in a PC. */
  readonly size: Size;
  /** Whose holes it has. */
  readonly holes: "PC";
}

/** The boot option `memory`. */
export type MemoryOption = Size | "PC" | MemoryOptions;

/** The main memory that a machine has. */
export interface MainMemory {
  /** Bytes. */
  readonly size: number;
  /** Whether it has the holes of a PC. */
  readonly hasHoles: boolean;
}

/**
 * Reads the option `memory`.
 *
 * @throws {RangeError | TypeError} When it is none.
 */
export function mainMemory(memory: MemoryOption, { hasHoles = false } = {}): MainMemory {
  if (memory === 0) return { size: 0, hasHoles };
  if (memory === "PC") return { size: PC_MEMORY.memorySize, hasHoles: true };
  if (typeof memory !== "object") return { size: sizeInBytes(memory), hasHoles };
  checkOptions("boot", memory, { size: "value", holes: "value" }, "memory");
  if (memory.holes === "PC") return { size: sizeInBytes(memory.size), hasHoles: true };
  throw new RangeError(
    `Cannot boot with memory.holes ${JSON.stringify(memory.holes)}: there are those of a "PC"`,
  );
}

/** Where main memory lies. */
function mainRanges({ size, hasHoles }: MainMemory): { gpa: number; size: number }[] {
  if (!hasHoles) return [{ gpa: 0, size }].filter((range) => range.size > 0);
  const { adapters, high, devices, end32 } = PC_MEMORY;
  return [
    { gpa: 0, size: Math.min(size, adapters) },
    { gpa: high, size: Math.min(size, devices) - high },
    { gpa: end32, size: size - devices },
  ].filter((range) => range.size > 0);
}

/** A memory slot: RAM, or ROM, that backs a range of guest physical addresses. */
export interface MemorySlot {
  /** Its number, as KVM knows it. */
  readonly slot: number;
  /** Its first guest physical address. */
  readonly gpa: number;
  /** Whether the guest's writes are refused, and arrive as MMIO exits. */
  readonly readonly: boolean;
  /** Bytes of it. */
  readonly size: number;
  /** The memory itself: what the guest sees, live. It ends with the machine. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A slot with the memory that KVM is given. */
export interface BackedSlot extends MemorySlot {
  /** Its memory, with its address in this process. */
  readonly pages: Pages;
  /** Of one that stands for a part of another: which, and from where in it on. */
  readonly part?: { readonly of: BackedSlot; readonly start: number };
}

/** Where a slot is to be. */
interface Range {
  readonly gpa: number;
  readonly size: number;
  readonly what: string;
}

const KVM_PAGES: Range = {
  gpa: KVM_PRIVATE_PAGES.start,
  size: KVM_PRIVATE_PAGES.end - KVM_PRIVATE_PAGES.start,
  what: "the pages that KVM takes on Intel processors",
};

/** A slot that is possible, with nothing left out. */
export interface SlotPlan extends Range {
  readonly readonly: boolean;
  readonly content: Uint8Array | undefined;
  readonly alias: number | undefined;
  readonly hugePages: boolean;
}

/**
 * Reads the options for a machine's memory: the main memory from 0 on, and other slots.
 *
 * @param main How much main memory there is, and whether it has large pages.
 * @throws {RangeError} When a slot is not made of whole pages, overlaps another, does not hold its content, or
 *   is an alias of memory that is not there.
 * @throws {TypeError} When an alias is given content or large pages of its own.
 */
export function planSlots(
  main: MainMemory & { readonly hugePages: boolean },
  others: readonly SlotOptions[],
): SlotPlan[] {
  const plans = [
    ...mainRanges(main).map((range) =>
      planSlot({ ...range, hugePages: main.hugePages }, "the main memory")
    ),
    ...others.map((slot, index) => planSlot(slot, `slots[${index}]`)),
  ];
  checkOverlaps(plans);
  for (const [index, plan] of plans.entries()) aliasedSlot(plan, plans.slice(0, index));
  return plans;
}

/**
 * Allocates planned memory.
 *
 * @throws {HostError} When the host does not have that much memory.
 * @throws {SystemError} When the host has no large pages.
 */
export function createSlots(libc: Libc, plans: readonly SlotPlan[]): BackedSlot[] {
  const own = plans.filter(({ alias }) => alias === undefined);
  checkHostMemory(libc, own.reduce((sum, { size }) => sum + size, 0));
  using cleanup = new DisposableStack();
  const slots: BackedSlot[] = [];
  for (const plan of plans) {
    const slot = allocateSlot(libc, slots.length, plan, slots);
    cleanup.use(slot.pages);
    slots.push(slot);
  }
  cleanup.move();
  return slots;
}

/**
 * Allocates one more slot beside those that there are.
 *
 * @throws As {@linkcode planSlots} and {@linkcode createSlots} do.
 */
export function createSlot(
  libc: Libc,
  number: number,
  options: SlotOptions,
  others: readonly BackedSlot[],
): BackedSlot {
  const plan = planSlot(options, "the slot");
  checkPlace(plan, others);
  if (plan.alias === undefined) checkHostMemory(libc, plan.size);
  return allocateSlot(libc, number, plan, others);
}

/**
 * Refuses a place for a slot.
 *
 * @throws {RangeError} When it is none, or overlaps one of `others`.
 */
export function checkPlace(range: Range, others: readonly BackedSlot[]): void {
  checkRange(range);
  const taken = others.map(({ slot, gpa, size }) => ({
    gpa,
    size,
    what: `slot ${slot}`,
  }));
  for (const other of [...taken, KVM_PAGES]) {
    if (range.gpa < other.gpa + other.size && other.gpa < range.gpa + range.size) {
      throw overlap(range, other);
    }
  }
}

function planSlot(options: SlotOptions, what: string): SlotPlan {
  const { gpa, readonly = false, alias } = options;
  const size = sizeInBytes(options.size);
  const range = { gpa, size, what };
  checkRange(range);
  if (alias !== undefined && (options.content !== undefined || options.hugePages !== undefined)) {
    throw new TypeError(
      `Cannot make ${what} an alias with ${
        options.content === undefined ? "hugePages" : "content"
      } of its own: ` +
        "its memory is that of another slot. Give it to that one.",
    );
  }
  const content = options.content === undefined ? undefined : contentBytes(options.content);
  if (content !== undefined && content.length > size) {
    throw new RangeError(`Cannot fill ${what} with ${content.length} bytes: it has ${size}`);
  }
  return { ...range, readonly, content, alias, hugePages: options.hugePages ?? false };
}

function allocateSlot(
  libc: Libc,
  number: number,
  plan: SlotPlan,
  others: readonly BackedSlot[],
): BackedSlot {
  const { gpa, size, readonly, content, alias, hugePages } = plan;
  const target = aliasedSlot(plan, others);
  const pages = target !== undefined
    ? partOf(target.pages, alias! - target.gpa, size)
    : hugePages
    ? new TrackedPages(allocateHugePages(libc, size, gpa))
    : new TrackedPages(allocatePages(libc, size));
  if (content !== undefined) {
    pages.bytes.set(content);
    pages.wrote(0, content.length);
  }
  return slotOf(number, gpa, readonly, pages);
}

/** A slot of some memory. */
export function slotOf(slot: number, gpa: number, readonly: boolean, pages: Pages): BackedSlot {
  const size = pages.bytes.length;
  return {
    slot,
    gpa,
    readonly,
    size,
    pages,
    get bytes() {
      return liveBytes(pages.view(0, size));
    },
  };
}

/**
 * The slot whose memory another shows: what is written through the one shows in the other. Undefined for one with
 * memory of its own.
 */
function aliasedSlot<Slot extends { readonly gpa: number; readonly size: number }>(
  { alias, size, what }: SlotPlan,
  others: readonly Slot[],
): Slot | undefined {
  if (alias === undefined) return undefined;
  const target = others.find((slot) => alias >= slot.gpa && alias + size <= slot.gpa + slot.size);
  if (target !== undefined && alias % PAGE_SIZE === 0) return target;
  throw new RangeError(
    `Cannot make ${what} an alias of ${size} bytes at ${formatAddress(alias)}: ` +
      (target === undefined
        ? "they do not lie in one slot that is made before it"
        : `it is not a multiple of ${PAGE_SIZE}`),
  );
}

function checkRange({ gpa, size, what }: Range): void {
  const isAligned = (value: number) => Number.isSafeInteger(value) && value % PAGE_SIZE === 0;
  if (!isAligned(gpa) || gpa < 0 || gpa + size - 1 > LAST_PHYSICAL_ADDRESS) {
    throw new RangeError(
      `Cannot place ${what} at ${gpa}: it is not a physical address that is a multiple of ${PAGE_SIZE}`,
    );
  }
  if (!isAligned(size)) {
    throw new RangeError(
      `Cannot make ${what} ${size} bytes large: it is not a multiple of ${PAGE_SIZE}, the size of a page`,
    );
  }
}

function checkOverlaps(ranges: readonly Range[]): void {
  const sorted = [...ranges, KVM_PAGES].sort((a, b) => a.gpa - b.gpa);
  for (const [index, range] of sorted.slice(1).entries()) {
    const before = sorted[index];
    if (before.gpa + before.size > range.gpa) throw overlap(range, before);
  }
}

function overlap(range: Range, other: Range): RangeError {
  return new RangeError(
    `Cannot place ${range.what} at ${span(range)}: it overlaps ${other.what} at ${span(other)}`,
  );
}

function checkHostMemory(libc: Libc, size: number): void {
  const limit = memoryLimit(libc, size);
  if (limit === undefined || size <= limit.bytes) return;
  throw new HostError(
    `Cannot give the machine ${size} bytes of memory: ${limit.of} has ${limit.bytes}. Ask for less with the \`memory\` option.`,
  );
}

function span({ gpa, size }: Range): string {
  return `0x${gpa.toString(16)}–0x${(gpa + size - 1).toString(16)}`;
}
