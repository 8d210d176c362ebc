import { PAGE_SIZE } from "../../ffi/mman.ts";
import { type Address, checkAddress } from "../../guest/address.ts";
import { atCaller } from "../../guest/call_site.ts";
import { describeWalk } from "../../x86/paging/page_walk.ts";
import { type PageWalk, walkPageTables } from "../../x86/paging/page_walk.ts";
import { pagingModeOf } from "../../x86/paging/page_levels.ts";
import { addressAfter, AddressSpace } from "./address_space.ts";
import type { BackedMemory, MemoryPiece } from "./physical_memory.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import type { Registers } from "../registers/registers.ts";
import type { RegisterStore } from "../registers/register_store.ts";

const ENTRY_SIZE = 8;

/**
 * A machine's memory by linear address: through the page tables that CR3 points to now, or, while paging is
 * off, as the physical addresses that they are then: `vm.linear`. Permissions are not asked: the host may
 * read and write what is mapped.
 */
export class LinearMemory extends AddressSpace<bigint> {
  readonly #memory: BackedMemory;
  readonly #store: Pick<RegisterStore, "paging">;
  readonly #labelAddress: (label: string) => bigint;

  /**
   * The linear addresses of the vCPU whose registers `store` has.
   *
   * @param labelAddress The linear address of a label.
   */
  constructor(
    memory: BackedMemory,
    store: Pick<RegisterStore, "paging">,
    labelAddress: (label: string) => bigint,
  ) {
    super();
    this.#labelAddress = labelAddress;
    this.#memory = memory;
    this.#store = store;
  }

  /**
   * The physical address of a linear one.
   *
   * @throws {RangeError} When it is not mapped; the message has each page-table entry that was passed.
   */
  toPhysical(where: Address): number {
    return atCaller(this.toPhysical, () => {
      const linear = this.addressOf(where);
      if (!this.#pagingIsOn) return Number(linear);
      const walk = this.walk(linear);
      if ("physical" in walk.result) return walk.result.physical;
      throw new RangeError(
        `Cannot translate linear 0x${linear.toString(16)}: it is not mapped\n` +
          describeWalk(walk).map((line) => `  ${line}`).join("\n"),
      );
    });
  }

  /**
   * The walk of the page tables for a linear address, with every entry that it passed, as CR4 and EFER have
   * them now.
   */
  walk(where: Address): PageWalk {
    const linear = this.addressOf(where);
    const { cr3, cr4, efer } = this.#store.paging;
    return walkPageTables({
      cr3,
      cr4,
      efer,
      linear,
      read: (gpa) =>
        this.#memory.slotAt(gpa + ENTRY_SIZE - 1) === undefined ? undefined : this.#memory.u64(gpa),
    });
  }

  /** See {@linkcode AddressSpace.addressOf}. */
  override addressOf(where: Address): bigint {
    if (typeof where === "string") return this.#labelAddress(where);
    return checkAddress(where, "a linear address");
  }

  /**
   * Where the bytes from a linear address on lie in physical memory, in ranges as long as they can be.
   *
   * @throws {RangeError} When one is not mapped.
   */
  ranges(
    address: bigint,
    length: number,
  ): { start: number; physical: number; length: number }[] {
    const ranges: { start: number; physical: number; length: number }[] = [];
    for (let start = 0; start < length;) {
      const physical = this.toPhysical(addressAfter(address, start));
      const size = Math.min(length - start, PAGE_SIZE - physical % PAGE_SIZE);
      const last = ranges.at(-1);
      if (last !== undefined && last.physical + last.length === physical) last.length += size;
      else ranges.push({ start, physical, length: size });
      start += size;
    }
    return ranges;
  }

  /** See {@linkcode AddressSpace}. */
  protected override load(address: bigint, target: Uint8Array): void {
    for (const { piece, start } of this.#pieces("read", address, target.length)) {
      this.#memory.readPiece(piece, target.subarray(start, start + piece.length));
    }
  }

  /** See {@linkcode AddressSpace}. */
  protected override store(address: bigint, content: Uint8Array): void {
    for (const { piece, start } of this.#pieces("write", address, content.length)) {
      this.#memory.writePiece(piece, content.subarray(start, start + piece.length));
    }
  }

  get #pagingIsOn(): boolean {
    return pagingModeOf(this.#store.paging) !== undefined;
  }

  /** The memory behind a range, in pieces; all of it is found before any of it is used. */
  #pieces(
    verb: string,
    address: bigint,
    length: number,
  ): { piece: MemoryPiece; start: number }[] {
    const pieces = [];
    for (const { start, physical, length: size } of this.ranges(address, length)) {
      let at = start;
      for (const piece of this.#memory.pieces(verb, physical, size)) {
        pieces.push({ piece, start: at });
        at += piece.length;
      }
    }
    return pieces;
  }
}

/**
 * The physical address of a stopped CPU's next instruction; undefined where the page tables have none for it.
 */
export function nextInstruction(
  { registers, linear }: {
    readonly registers: Registers;
    readonly linear: LinearMemory;
  },
): number | undefined {
  try {
    return linear.toPhysical(linearInstructionPointer(registers));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
