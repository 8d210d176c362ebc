import { PAGE_SIZE } from "../../ffi/mman.ts";
import { EXCEPTION_VECTORS } from "../../x86/exceptions/exceptions.ts";
import type { FrameFormat } from "../../x86/exceptions/exception_frame.ts";
import { PORT } from "../../x86/layout.ts";
import { interruptTable } from "../../x86/boot/modes/interrupt_table.ts";
import type { Cpu } from "../cpu.ts";
import type { CaughtFault } from "../faults/caught_fault.ts";
import { FaultCatcher } from "../faults/fault_catcher.ts";
import { linearInstructionPointer } from "../registers/code_location.ts";
import type { RepeatedRun } from "./repeated_run.ts";

/** `out PORT.fault, al`, which every mode has, and which is an exit at CPL 0. */
export const TRAP_CODE: readonly number[] = [0xe6, PORT.fault];

/** Where in its page the stubs lie, behind the table. */
const STUBS = 0x800;
/** Bytes of a stub: the OUT, and as much again. */
const STUB_SIZE = 4;
/** Where a gate has its selector. */
const GATE_SELECTOR = 2;
const GATE_SIZE = { 32: 8, 64: 16 } as const;

const PARAGRAPH = 16;
const POINTER_SIZE = 4;
const REAL_MODE_VECTORS = 256;
/** As many vectors share a stub of real mode as reach it by selectors of their own. */
const VECTORS_A_STUB = 64;
/** Below it real mode has its table and the BIOS's data; above it a PC has no memory. */
const REAL_MODE_MEMORY = { first: 0x1000, end: 0xa_0000 } as const;

/** How far from the code a free page is looked for, in pages. */
const FARTHEST = 512;
/** Pages below and above the stack pointer that are the stack's. */
const STACK_PAGES = { below: 4n, above: 1n } as const;

const PRIVILEGE = 3;

/**
 * An IDT of the harness's own in the place of the guest's, in a page that holds nothing: the exception that the guest
 * raises next is an exit. On the machine of a repeated run, whose memory nobody needs afterwards.
 */
export class OwnIdt implements Disposable {
  readonly #cpu: Cpu;
  readonly #catcher: FaultCatcher;
  readonly #page: bigint;
  readonly #guests: { readonly base: bigint; readonly limit: number };

  private constructor(cpu: Cpu, format: FrameFormat, page: bigint, table: Uint8Array) {
    const { registers, linear, vcpu, store, image } = cpu;
    this.#cpu = cpu;
    this.#page = page;
    this.#guests = { base: registers.idt.base, limit: registers.idt.limit };
    const stubs = new Uint8Array(EXCEPTION_VECTORS * STUB_SIZE);
    for (let at = 0; at < stubs.length; at += STUB_SIZE) stubs.set(TRAP_CODE, at);
    linear.write(page, table);
    linear.write(page + BigInt(STUBS), stubs);
    registers.set({ idt: { base: page, limit: table.length - 1 } });
    this.#catcher = new FaultCatcher({
      vcpu,
      store,
      registers,
      linear,
      image,
      place: { format, stubs: Number(page) + STUBS },
      interrupts: { isTaken: () => false },
    });
  }

  /** Puts one in the guest's place; undefined where there is none for it. */
  static of({ cpu }: RepeatedRun): OwnIdt | undefined {
    const { registers } = cpu;
    const { cs, efer, rflags, cr0 } = registers;
    const isReal = !cr0.pe;
    // Another stack would be taken from a TSS, which may be what is wrong.
    if (!isReal && (rflags.vm || (cs.selector & PRIVILEGE) !== 0)) return undefined;
    // The gates of long mode lead to code of 64 bits.
    if (efer.lma && !cs.l) return undefined;
    const page = freePage(cpu, isReal);
    if (page === undefined) return undefined;
    if (isReal) return new OwnIdt(cpu, "real", page, realModeTable(Number(page)));
    const bits = efer.lma ? 64 : 32;
    const first = BigInt.asUintN(bits, page + BigInt(STUBS) - cs.base);
    const table = interruptTable(
      Object.fromEntries(Array.from(
        { length: EXCEPTION_VECTORS },
        (_, vector) => [vector, first + BigInt(vector * STUB_SIZE)],
      )),
      bits,
    ).slice(0, EXCEPTION_VECTORS * GATE_SIZE[bits]);
    const view = new DataView(table.buffer);
    for (let at = 0; at < table.length; at += GATE_SIZE[bits]) {
      view.setUint16(at + GATE_SELECTOR, cs.selector, true);
    }
    return new OwnIdt(cpu, `${bits}-bit`, page, table);
  }

  /**
   * The exception behind the latest exit, which is complete; undefined where that was another. The registers are then
   * what they were at the instruction that raised it.
   */
  caught(): CaughtFault | undefined {
    const { vector } = this.#catcher;
    return vector === undefined ? undefined : this.#catcher.catch(vector, false);
  }

  /** Puts the guest's own in its place again. */
  [Symbol.dispose](): void {
    const { registers, linear } = this.#cpu;
    if (registers.idt.base === this.#page) registers.set({ idt: this.#guests });
    try {
      linear.write(this.#page, new Uint8Array(PAGE_SIZE));
    } catch {
      // The guest has unmapped it since.
    }
  }
}

/** Vectors of real mode that lead to stubs: by which selector it was called is the vector. */
function realModeTable(page: number): Uint8Array {
  const table = new Uint8Array(REAL_MODE_VECTORS * POINTER_SIZE);
  const view = new DataView(table.buffer);
  for (let vector = 0; vector < REAL_MODE_VECTORS; vector++) {
    const stub = Math.floor(vector / VECTORS_A_STUB);
    const paragraphs = vector % VECTORS_A_STUB;
    view.setUint16(vector * POINTER_SIZE, paragraphs * PARAGRAPH + stub * STUB_SIZE, true);
    view.setUint16(vector * POINTER_SIZE + 2, (page + STUBS) / PARAGRAPH - paragraphs, true);
  }
  return table;
}

/** The linear address of a page that holds only zeros, is none of the stack's, and is mapped for code. */
function freePage({ registers, linear, memory }: Cpu, isReal: boolean): bigint | undefined {
  const size = BigInt(PAGE_SIZE);
  const { ss, rsp, cr0, cr4 } = registers;
  const stack = (ss.base + rsp) / size;
  const code = linearInstructionPointer(registers) / size;
  const first = isReal ? BigInt(REAL_MODE_MEMORY.first) : size;
  const end = BigInt(isReal ? REAL_MODE_MEMORY.end : Number.MAX_SAFE_INTEGER);
  for (let distance = 1n; distance <= FARTHEST; distance++) {
    for (const number of [code + distance, code - distance]) {
      const page = number * size;
      if (page < first || page + size > end) continue;
      if (number >= stack - STACK_PAGES.below && number <= stack + STACK_PAGES.above) continue;
      let gpa: number;
      if (cr0.pg) {
        const { result } = linear.walk(page);
        if (!("physical" in result) || !result.executable) continue;
        if (result.user && cr4.smep) continue;
        gpa = result.physical;
      } else gpa = Number(page);
      const slot = memory.slotAt(gpa);
      if (slot === undefined || slot.readonly) continue;
      if (memory.read(gpa, PAGE_SIZE).every((byte) => byte === 0)) return page;
    }
  }
  return undefined;
}
