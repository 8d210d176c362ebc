import { AddressSpace } from "./address_space.ts";
import { formatAddress } from "./format_address.ts";

/** A memory slot: RAM, or ROM, that backs a range of guest physical addresses. */
export interface MemorySlot {
  /** Its number, as KVM knows it. */
  readonly slot: number;
  /** Its first guest physical address. */
  readonly gpa: number;
  /** Whether the guest's writes are refused, and arrive as MMIO exits. */
  readonly readonly: boolean;
  /** The memory itself: what the guest sees, live. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A machine's memory by guest physical address: `vm.memory`. The host may write to read-only slots too. */
export class PhysicalMemory extends AddressSpace {
  /** The slots there are, by address. */
  readonly slots: readonly MemorySlot[];
  readonly #checkUsable: () => void;

  /**
   * The memory that these slots make.
   *
   * @param checkUsable Throws where the machine that owns the slots is disposed.
   */
  constructor(slots: readonly MemorySlot[], checkUsable: () => void) {
    super();
    this.slots = [...slots].sort((a, b) => a.gpa - b.gpa);
    this.#checkUsable = checkUsable;
  }

  /**
   * The `length` bytes at `gpa` themselves, not a copy: what the guest writes shows in them, and what is
   * written to them shows to the guest. They must lie in one slot.
   */
  view(gpa: number, length: number): Uint8Array<ArrayBuffer> {
    this.#checkUsable();
    const slot = this.slotAt(gpa);
    const isCount = Number.isSafeInteger(length) && length >= 0;
    if (slot === undefined || !isCount || gpa + length > slot.gpa + slot.bytes.length) {
      throw this.#outOfRange("view", gpa, length);
    }
    return slot.bytes.subarray(gpa - slot.gpa, gpa - slot.gpa + length);
  }

  /**
   * Refuses a range for an MMIO handler.
   *
   * @throws {RangeError} When RAM lies in it: the guest's accesses there are no exits.
   */
  checkIsNoRam(first: number, last: number): void {
    const slot = this.slots.find((slot) =>
      !slot.readonly && slot.gpa <= last && first < slot.gpa + slot.bytes.length
    );
    if (slot === undefined) return;
    throw new RangeError(
      `Cannot handle physical addresses ${formatAddress(first)} to ${
        formatAddress(last)
      }: RAM lies at ` +
        `${formatAddress(slot.gpa)}–${
          formatAddress(slot.gpa + slot.bytes.length - 1)
        }, so that the guest's accesses there cause no exits. ` +
        "Give the machine less memory, or choose another address.",
    );
  }

  /** The slot that backs `gpa`, or undefined. */
  slotAt(gpa: number): MemorySlot | undefined {
    if (!Number.isSafeInteger(gpa)) return undefined;
    return this.slots.find((slot) => gpa >= slot.gpa && gpa < slot.gpa + slot.bytes.length);
  }

  /**
   * The memory itself behind a range, in pieces where it crosses from one slot into the next.
   *
   * @param verb What is to be done with it, for the message.
   * @throws {RangeError} When a byte of it has no memory.
   */
  pieces(verb: string, gpa: number, length: number): Uint8Array<ArrayBuffer>[] {
    this.#checkUsable();
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for (let done = 0; done < length;) {
      const slot = this.slotAt(gpa + done);
      if (slot === undefined) throw this.#outOfRange(verb, gpa, length);
      const start = gpa + done - slot.gpa;
      const piece = slot.bytes.subarray(start, start + length - done);
      pieces.push(piece);
      done += piece.length;
    }
    return pieces;
  }

  /** See {@linkcode AddressSpace}. */
  protected override load(address: number, target: Uint8Array): void {
    let done = 0;
    for (const piece of this.pieces("read", address, target.length)) {
      target.set(piece, done);
      done += piece.length;
    }
  }

  /** See {@linkcode AddressSpace}. */
  protected override store(address: number, bytes: Uint8Array): void {
    let done = 0;
    // All pieces are known before the first is written: a write is whole, or not made.
    for (const piece of this.pieces("write", address, bytes.length)) {
      piece.set(bytes.subarray(done, done + piece.length));
      done += piece.length;
    }
  }

  #outOfRange(verb: string, gpa: number, length: number): RangeError {
    const slots = this.slots
      .map((slot) =>
        `${formatAddress(slot.gpa)}–${formatAddress(slot.gpa + slot.bytes.length - 1)}`
      )
      .join(", ");
    return new RangeError(
      `Cannot ${verb} ${length} byte${length === 1 ? "" : "s"} at physical ${
        formatAddress(gpa)
      }: no memory ` +
        `is there. The slots are ${slots}.`,
    );
  }
}
