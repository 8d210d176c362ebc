import type { Pages } from "../../ffi/libc.ts";
import type { MemoryInput, SlotLayout } from "../exits/input_record.ts";
import { type Address, checkAddress } from "../../guest/address.ts";
import { atCaller } from "../../guest/call_site.ts";
import { AddressSpace, liveBytes } from "./address_space.ts";
import { checkOptions } from "../../x86/defined_entries.ts";
import {
  type BackedSlot,
  type MemorySlot,
  SLOT_OPTIONS,
  type SlotOptions,
} from "./memory_slots.ts";
import { formatAddress } from "../../x86/hex.ts";
import { sizeInBytes } from "./size.ts";
import type { PageContents } from "./tracked_pages.ts";

/** A piece of a slot's memory: `length` bytes from `start` on. */
export interface MemoryPiece {
  /** The slot's memory. */
  readonly pages: Pages;
  /** Where the piece begins in it, in bytes. */
  readonly start: number;
  /** How many bytes it has. */
  readonly length: number;
}

/** Stores bytes in a piece of a slot's memory. */
export function storePiece({ pages, start, length }: MemoryPiece, bytes: Uint8Array): void {
  pages.bytes.set(bytes, start);
  pages.wrote(start, length);
}

/** The bytes of a piece, to be read. */
export function pieceBytes({ pages, start, length }: MemoryPiece): Uint8Array {
  return pages.bytes.subarray(start, start + length);
}

/** What stands in memory without being of the guest. */
export interface MemoryOverlay {
  /** Puts what is the guest's in its place, in bytes that were just read from a piece. */
  readInto(piece: MemoryPiece, target: Uint8Array): void;
  /** Hears that a piece was written to. */
  wroteTo(piece: MemoryPiece): void;
}

/** A slot that is to be, of memory that there is. */
export interface SlotInit {
  /** Its first guest physical address. */
  readonly gpa: number;
  /** Whether the guest's writes are refused, and arrive as MMIO exits. */
  readonly readonly: boolean;
  /** Its memory. */
  readonly pages: Pages;
}

/** Hears of what this process does to a machine's memory. */
export interface MemoryObserver {
  /** It has written to a memory, by its number: in the order of allocation. */
  wrote(memory: number, start: number, bytes: Uint8Array): void;
  /** It has allocated one more, which holds zeros. */
  allocated(size: number): void;
  /** It has laid memory out in another way. */
  placed(layout: SlotLayout): void;
}

/** The slots of a machine's memory, which may change while it lives. */
export interface MemorySlots extends Disposable {
  /** Those there are, by address. */
  readonly slots: readonly BackedSlot[];
  /** Adds one. */
  add(options: SlotOptions): MemorySlot;
  /** Moves one. */
  move(slot: MemorySlot, gpa: number): MemorySlot;
  /** Deletes one. */
  delete(slot: MemorySlot): void;
  /** Allocates memory for slots to come, which ends with the machine. */
  allocate(size: number): Pages;
  /** Deletes slots, of which some may be gone, and puts others in their place. */
  replace(gone: readonly BackedSlot[], there: readonly SlotInit[]): BackedSlot[];
  /** Which pages were written. */
  dirty(keep: boolean): number[];
  /** Whether address line 20 reaches memory. */
  a20: boolean;
  /** Whether somebody holds memory itself, to write to it at any time. */
  readonly hasViews: boolean;
  /** Lets somebody hear of what this process does to memory from now on. */
  observe(observer: MemoryObserver): void;
  /** Does what was done to another machine's memory, which was booted in the same way. */
  take(input: MemoryInput): void;
  /** Called before any of it is handed out. */
  beforeView: () => void;
  /** What all memory holds now. */
  save(): MemoryImage;
  /** Makes it that again, and gives the number of pages that it took. */
  restore(image: MemoryImage): number;
  /** Has KVM forget all page tables that it keeps for the guest. */
  dropPageTables(): void;
  /**
   * @param ofAnother Whether the image is of another machine, whose slots are to be like these.
   * @throws {RangeError} When the test has changed slots since.
   */
  checkIsRestorable(image: MemoryImage, ofAnother?: boolean): void;
}

/** What a machine's memory holds at some time. */
export interface MemoryImage {
  /** The pages that are not zeros, of each memory in the order in which they were allocated. */
  readonly contents: readonly PageContents[];
  /** The slots that there are by the test's own doing. */
  readonly slots: readonly BackedSlot[];
  /** Whether address line 20 reaches memory. */
  readonly a20: boolean;
  /** The pages that the guest has written since the test asked for them last, by slot. */
  readonly dirty: readonly (readonly [slot: number, pages: readonly number[]])[];
}

/** What a machine's memory asks of the machine. */
export interface MemoryOwner {
  /** The guest physical address of a label. */
  addressOf(label: string): number;
  /** Throws where the machine is disposed. */
  checkUsable(): void;
  /** Has the guest's memory be what the latest exit leaves. */
  finishExit(): void;
  /** Throws where a range of guest physical addresses has MMIO handlers. */
  checkIsNoDevice(first: number, last: number): void;
  /** The physical addresses of the CPUs' next instructions, of those that have one. */
  nextInstructions(): readonly number[];
}

/**
 * A machine's memory by guest physical address: `vm.memory`. The host may write to read-only slots too.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov byte [0x3000], 1
 *   hlt
 * `, { dirtyPages: "log" });
 * vm.run();
 * console.log(vm.memory.dirty()); // [ 12288 ]
 * ```
 */
export interface PhysicalMemory extends AddressSpace<number> {
  /** The slots there are, by address. */
  readonly slots: readonly MemorySlot[];

  /**
   * Gives the machine one more slot, between runs or from a handler.
   *
   * @throws {RangeError} When it is not made of whole pages, or overlaps another slot or an MMIO handler.
   * @throws {CapabilityError | KvmError} When the kernel refuses it.
   */
  addSlot(options: SlotOptions): MemorySlot;

  /**
   * Moves a slot to another guest physical address; its content moves with it.
   *
   * @returns The slot in its place, which stands for it from then on.
   * @throws {RangeError} When the address is not a multiple of 4096, or it would overlap another slot or an
   *   MMIO handler.
   */
  moveSlot(slot: MemorySlot, gpa: number): MemorySlot;

  /**
   * Deletes a slot: the guest's accesses there are MMIO from then on.
   *
   * @param options `force` deletes it even where the vCPU is about to execute in it; what it fetches then is
   *   up to KVM.
   * @throws {RangeError} When the machine does not have it, or the vCPU's next instruction lies in it.
   */
  deleteSlot(slot: MemorySlot, options?: { readonly force?: boolean }): void;

  /**
   * The guest physical addresses of the pages that the guest has written, in order, since they were asked for last.
   * What the test itself writes is not noted.
   *
   * The guest's page tables are among them where its processor has set accessed or dirty bits in them; on Intel
   * processors all that it has walked, changed or not (Intel SDM Vol. 3C, 28.3.5).
   *
   * @param options `keep` leaves them dirty: the next question has them again.
   * @throws {TypeError} When the machine was booted without `dirtyPages`.
   */
  dirty(options?: { readonly keep?: boolean }): number[];

  /**
   * The `length` bytes at `gpa` themselves, not a copy: what the guest writes shows in them, and what is
   * written to them shows to the guest. They must lie in one slot. A view ends with its machine: it has no bytes then.
   */
  view(gpa: Address, length: number): Uint8Array<ArrayBuffer>;

  /** The slot that backs `gpa`, or undefined. */
  slotAt(gpa: number): MemorySlot | undefined;
}

/** {@linkcode PhysicalMemory}, with the memory behind it. */
export class BackedMemory extends AddressSpace<number> implements PhysicalMemory {
  readonly #slots: MemorySlots;
  readonly #owner: MemoryOwner;
  /** What is in it without being of the guest, if anything is. */
  overlay: MemoryOverlay | undefined;

  /** The memory that these slots make. */
  constructor(slots: MemorySlots, owner: MemoryOwner) {
    super();
    this.#slots = slots;
    this.#owner = owner;
    slots.beforeView = () => owner.finishExit();
  }

  /** See {@linkcode PhysicalMemory.slots}. */
  get slots(): readonly MemorySlot[] {
    return this.#slots.slots;
  }

  /** See {@linkcode PhysicalMemory.addSlot}. */
  addSlot(options: SlotOptions): MemorySlot {
    return atCaller(this.addSlot, () => {
      this.#owner.checkUsable();
      checkOptions("add a slot", options, SLOT_OPTIONS);
      if (options.readonly !== true) this.#checkIsNoDevice(options.gpa, sizeInBytes(options.size));
      return this.#slots.add(options);
    });
  }

  /** See {@linkcode PhysicalMemory.moveSlot}. */
  moveSlot(slot: MemorySlot, gpa: number): MemorySlot {
    return atCaller(this.moveSlot, () => {
      this.#owner.checkUsable();
      if (!slot.readonly) this.#checkIsNoDevice(gpa, slot.size);
      return this.#slots.move(slot, gpa);
    });
  }

  /** See {@linkcode PhysicalMemory.deleteSlot}. */
  deleteSlot(slot: MemorySlot, options: { readonly force?: boolean } = {}): void {
    return atCaller(this.deleteSlot, () => {
      this.#owner.checkUsable();
      checkOptions("delete a slot", options, { force: "flag" });
      this.#delete(slot, options.force ?? false);
    });
  }

  #delete(slot: MemorySlot, force: boolean): void {
    const next = force
      ? undefined
      : this.#owner.nextInstructions().find((each) => this.slotAt(each) === slot);
    if (next !== undefined) {
      throw new RangeError(
        `Cannot delete slot ${slot.slot}: the vCPU's next instruction, at physical ${
          formatAddress(next)
        }, lies in it. Move the vCPU away first, or give { force: true } to see what becomes of it.`,
      );
    }
    this.#slots.delete(slot);
  }

  /** See {@linkcode PhysicalMemory.dirty}. */
  dirty(options: { readonly keep?: boolean } = {}): number[] {
    return atCaller(this.dirty, () => {
      this.#owner.checkUsable();
      checkOptions("ask for dirty pages", options, { keep: "flag" });
      return this.#slots.dirty(options.keep ?? false);
    });
  }

  /** See {@linkcode PhysicalMemory.view}. */
  view(where: Address, length: number): Uint8Array<ArrayBuffer> {
    return atCaller(this.view, () => {
      this.#owner.checkUsable();
      const gpa = this.addressOf(where);
      const slot = this.slotAt(gpa);
      const isCount = Number.isSafeInteger(length) && length >= 0;
      if (slot === undefined || !isCount || gpa + length > slot.gpa + slot.size) {
        throw this.#outOfRange("view", gpa, length);
      }
      return liveBytes(slot.pages.view(gpa - slot.gpa, length));
    });
  }

  /**
   * Refuses a range for an MMIO handler.
   *
   * @throws {RangeError} When RAM lies in it: the guest's accesses there are no exits.
   */
  checkIsNoRam(first: number, last: number): void {
    const slot = this.slots.find((slot) =>
      !slot.readonly && slot.gpa <= last && first < slot.gpa + slot.size
    );
    if (slot === undefined) return;
    throw new RangeError(
      `Cannot handle physical addresses ${formatAddress(first)} to ${
        formatAddress(last)
      }: RAM lies at ` +
        `${formatAddress(slot.gpa)}–${
          formatAddress(slot.gpa + slot.size - 1)
        }, so that the guest's accesses there cause no exits. ` +
        "Give the machine less memory, or choose another address.",
    );
  }

  /** See {@linkcode PhysicalMemory.slotAt}. */
  slotAt(gpa: number): BackedSlot | undefined {
    if (!Number.isSafeInteger(gpa)) return undefined;
    return this.#slots.slots.find((slot) => gpa >= slot.gpa && gpa < slot.gpa + slot.size);
  }

  /**
   * The memory itself behind a range, in pieces where it crosses from one slot into the next.
   *
   * @param verb What is to be done with it, for the message.
   * @throws {RangeError} When a byte of it has no memory.
   */
  pieces(verb: string, gpa: number, length: number): MemoryPiece[] {
    this.#owner.checkUsable();
    const pieces: MemoryPiece[] = [];
    for (let done = 0; done < length;) {
      const slot = this.slotAt(gpa + done);
      if (slot === undefined) throw this.#outOfRange(verb, gpa, length);
      const start = gpa + done - slot.gpa;
      const piece = {
        pages: slot.pages,
        start,
        length: Math.min(length - done, slot.size - start),
      };
      pieces.push(piece);
      done += piece.length;
    }
    return pieces;
  }

  /** See {@linkcode AddressSpace.addressOf}. */
  override addressOf(where: Address): number {
    this.#owner.checkUsable();
    if (typeof where === "string") return this.#owner.addressOf(where);
    return Number(checkAddress(where, "a physical address"));
  }

  /** Reads a piece of it, as the guest has it. */
  readPiece(piece: MemoryPiece, target: Uint8Array): void {
    target.set(pieceBytes(piece));
    this.overlay?.readInto(piece, target);
  }

  /** Writes to a piece of it. */
  writePiece(piece: MemoryPiece, bytes: Uint8Array): void {
    storePiece(piece, bytes);
    this.overlay?.wroteTo(piece);
  }

  /** See {@linkcode AddressSpace}. */
  protected override load(address: number, target: Uint8Array): void {
    let done = 0;
    for (const piece of this.pieces("read", address, target.length)) {
      this.readPiece(piece, target.subarray(done, done + piece.length));
      done += piece.length;
    }
  }

  /** See {@linkcode AddressSpace}. */
  protected override store(address: number, bytes: Uint8Array): void {
    let done = 0;
    // All pieces are known before the first is written: a write is whole, or not made.
    for (const piece of this.pieces("write", address, bytes.length)) {
      this.writePiece(piece, bytes.subarray(done, done + piece.length));
      done += piece.length;
    }
  }

  #checkIsNoDevice(gpa: number, size: number): void {
    this.#owner.checkIsNoDevice(gpa, gpa + size - 1);
  }

  #outOfRange(verb: string, gpa: number, length: number): RangeError {
    const slots = this.slots
      .map((slot) => `${formatAddress(slot.gpa)}–${formatAddress(slot.gpa + slot.size - 1)}`)
      .join(", ");
    return new RangeError(
      `Cannot ${verb} ${length} byte${length === 1 ? "" : "s"} at physical ${
        formatAddress(gpa)
      }: no memory ` +
        `is there. The slots are ${slots}.`,
    );
  }
}

/** Reads memory of which nobody knows whether it is there: undefined where no slot backs its ends. */
export function memoryReader(
  memory: Pick<PhysicalMemory, "slotAt" | "read">,
): (gpa: number, size: number) => Uint8Array | undefined {
  return (gpa, size) =>
    [gpa, gpa + size - 1].every((end) => memory.slotAt(end)) ? memory.read(gpa, size) : undefined;
}
