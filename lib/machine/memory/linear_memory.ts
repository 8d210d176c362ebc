import { PAGE_SIZE } from "../../ffi/mman.ts";
import { describeWalk } from "../../x86/paging/describe_walk.ts";
import { type PageWalk, walkPageTables } from "../../x86/paging/page_walk.ts";
import { pagingModeOf } from "../../x86/paging/paging_mode.ts";
import { addressAfter, AddressSpace } from "./address_space.ts";
import { type BackedMemory, type MemoryPiece, pieceBytes, storePiece } from "./physical_memory.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import type { Registers } from "../registers/registers.ts";

const ENTRY_SIZE = 8;

/**
 * A machine's memory by linear address: through the page tables that CR3 points to now, or, while paging is
 * off, as the physical addresses that they are then: `vm.linear`. Permissions are not asked: the host may
 * read and write what is mapped.
 */
export class LinearMemory extends AddressSpace<number | bigint> {
  readonly #memory: BackedMemory;
  readonly #registers: Registers;

  /** The linear addresses of the vCPU that `registers` are of. */
  constructor(memory: BackedMemory, registers: Registers) {
    super();
    this.#memory = memory;
    this.#registers = registers;
  }

  /**
   * The physical address of a linear one.
   *
   * @throws {RangeError} When it is not mapped; the message has each page-table entry that was passed.
   */
  toPhysical(linear: number | bigint): number {
    if (typeof linear === "number" && !Number.isSafeInteger(linear)) {
      throw new RangeError(
        `Cannot translate linear ${linear}: a number holds whole addresses up to 2^53 - 1 exactly; give a bigint`,
      );
    }
    if (!this.#pagingIsOn) return Number(linear);
    const walk = this.walk(linear);
    if ("physical" in walk.result) return walk.result.physical;
    throw new RangeError(
      `Cannot translate linear 0x${linear.toString(16)}: it is not mapped\n` +
        describeWalk(walk).map((line) => `  ${line}`).join("\n"),
    );
  }

  /**
   * The walk of the page tables for a linear address, with every entry that it passed, as CR4 and EFER have
   * them now.
   */
  walk(linear: number | bigint): PageWalk {
    const { cr3, cr4, efer } = this.#registers;
    return walkPageTables({
      cr3,
      cr4: cr4.value,
      efer: efer.value,
      linear,
      read: (gpa) =>
        this.#memory.slotAt(gpa + ENTRY_SIZE - 1) === undefined ? undefined : this.#memory.u64(gpa),
    });
  }

  /** See {@linkcode AddressSpace}. */
  protected override load(address: number | bigint, target: Uint8Array): void {
    for (const { piece, start } of this.#pieces("read", address, target.length)) {
      target.set(pieceBytes(piece), start);
    }
  }

  /** See {@linkcode AddressSpace}. */
  protected override store(address: number | bigint, content: Uint8Array): void {
    for (const { piece, start } of this.#pieces("write", address, content.length)) {
      storePiece(piece, content.subarray(start, start + piece.length));
    }
  }

  get #pagingIsOn(): boolean {
    const { cr0, cr4, efer } = this.#registers;
    return pagingModeOf({ cr0: cr0.value, cr4: cr4.value, efer: efer.value }) !== undefined;
  }

  /** The memory behind a range, cut at page boundaries; all of it is found before any of it is used. */
  #pieces(
    verb: string,
    address: number | bigint,
    length: number,
  ): { piece: MemoryPiece; start: number }[] {
    const pieces = [];
    for (let start = 0; start < length;) {
      const linear = addressAfter(address, start);
      const physical = this.toPhysical(linear);
      const end = Math.min(length, start + PAGE_SIZE - physical % PAGE_SIZE);
      // Slots are made of whole pages: what lies in one page lies in one slot.
      const [piece] = this.#memory.pieces(verb, physical, end - start);
      pieces.push({ piece, start });
      start = end;
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
