import type { MemoryWrite } from "../../placement.ts";
import { PORT, PROTECTED_MODE, REAL_MODE } from "../../layout.ts";
import type { Gate } from "./interrupt_table.ts";
import { EXCEPTION_VECTORS, exceptions } from "../../exceptions/exceptions.ts";
import type { CpuState } from "../cpu_state.ts";
import { describeWalk, walkPageTables } from "../../paging/page_walk.ts";
import { hex } from "../../hex.ts";
import { pagingModeOf } from "../../paging/page_levels.ts";

/**
 * `out PORT.fault, al`, and a jump back to it. The same bytes in code of 16, 32 and 64 bits; they change no
 * register and use no data segment.
 */
const STUB = [0xe6, PORT.fault, 0xeb, 0xfc] as const;
/** Bytes of the stub's OUT, which is all that is ever executed: rip is behind it when the harness looks. */
const OUT_SIZE = 2;

/** The vectors that a program at CPL 3 raises by an instruction of its own: INT3 and INTO. */
const USER_TRAPS: ReadonlySet<string> = new Set(["#BP", "#OF"]);

/** The stack of long mode's TSS on which stubs are entered, whatever the guest has done to its own: IST1. */
const FAULT_STACK_INDEX = 1;

const PARAGRAPH = 16;

/** The gates that lead to the stubs. In long mode they have a stack of their own. */
export function faultGates(bits: 16 | 32 | 64): Record<number, Gate> {
  return Object.fromEntries(exceptions.map(({ vector, name }) => [vector, {
    handler: PROTECTED_MODE.faultStubs + vector * STUB.length,
    user: USER_TRAPS.has(name),
    ...bits === 64 ? { stack: FAULT_STACK_INDEX } : {},
  }]));
}

/** What the stubs are in memory, with their stack in long mode. */
export function faultWrites(bits: 16 | 32 | 64): MemoryWrite[] {
  const { faultStubs, faultStack, faultStackTop } = PROTECTED_MODE;
  const stubs = Uint8Array.from(exceptions.flatMap(() => STUB));
  if (bits !== 64) return [{ gpa: faultStubs, bytes: stubs, what: "fault stubs" }];
  return [
    { gpa: faultStubs, bytes: stubs, what: "fault stubs" },
    {
      gpa: faultStack,
      bytes: new Uint8Array(faultStackTop - faultStack),
      what: "stack of the fault stubs",
    },
  ];
}

/** Vectors of real mode's table (Intel SDM Vol. 3B, 20.1.4). */
const VECTORS = 256;

/** How many vectors of real mode share a stub: as many as reach it by selectors from 0 on. */
const VECTORS_A_STUB = 64;

/** An address as real mode has it in memory: a segment, by its selector, and an offset in that. */
export interface FarPointer {
  readonly selector: number;
  readonly offset: number;
}

/**
 * The pointers to the catcher of real mode, by vector: four stubs, each of which 64 vectors reach by another CS, so that
 * they need 16 bytes and fit where no program lies.
 */
export function realModeFaultVectors(): Record<number, FarPointer> {
  return Object.fromEntries(Array.from({ length: VECTORS }, (_, vector) => {
    const stub = Math.floor(vector / VECTORS_A_STUB);
    const paragraphs = vector % VECTORS_A_STUB;
    return [vector, {
      selector: REAL_MODE.faultStubs / PARAGRAPH - paragraphs,
      offset: paragraphs * PARAGRAPH + stub * STUB.length,
    }];
  }));
}

/** Those stubs in memory. */
export function realModeFaultStubs(): MemoryWrite {
  const bytes = Array.from({ length: VECTORS / VECTORS_A_STUB }, () => STUB).flat();
  return { gpa: REAL_MODE.faultStubs, bytes: Uint8Array.from(bytes), what: "fault stubs" };
}

/**
 * Which vector's stub writes to {@linkcode PORT}'s `fault`, or undefined where none does.
 *
 * @param stubs The linear address of the first stub.
 * @param linear Where RIP points: to the stub's OUT or, where KVM has moved on already, behind it.
 * @param cs The selector in CS, which in real mode tells the vector.
 */
export function faultVector(
  place: { readonly format: string; readonly stubs: number },
  linear: bigint,
  cs: number,
): number | undefined {
  const offset = Number(linear) - place.stubs;
  const stub = Math.floor(offset / STUB.length);
  if (stub < 0 || !isAtOut(offset % STUB.length)) return undefined;
  if (place.format !== "real") return stub < EXCEPTION_VECTORS ? stub : undefined;
  const paragraphs = place.stubs / PARAGRAPH - cs;
  const isStub = stub < VECTORS / VECTORS_A_STUB && paragraphs >= 0 && paragraphs < VECTORS_A_STUB;
  return isStub ? stub * VECTORS_A_STUB + paragraphs : undefined;
}

function isAtOut(offset: number): boolean {
  return offset === 0 || offset === OUT_SIZE;
}

/** What the CPU uses by linear addresses when it delivers a fault to the catcher. */
const NEEDED: ReadonlySet<string> = new Set([
  "GDT",
  "TSS",
  "IDT",
  "fault stubs",
  "stack of the fault stubs",
]);

const QUADWORD = 8;

/**
 * The state itself; a state with a fault catcher only if its page tables map all that the catcher needs onto
 * itself: without that the first fault would be a triple fault.
 *
 * @throws {RangeError} Where they do not; the message has the walk.
 */
export function withCatcherMapped(state: CpuState): CpuState {
  const { specialRegisters, writes } = state;
  if (state.faultCatcher === undefined || pagingModeOf(specialRegisters) === undefined) {
    return state;
  }
  const { cr3, cr4, efer } = specialRegisters;
  const read = (gpa: number): bigint => {
    const write = writes.find((each) => gpa >= each.gpa && gpa < each.gpa + each.bytes.length);
    if (write === undefined) return 0n;
    const view = new DataView(write.bytes.buffer, write.bytes.byteOffset, write.bytes.byteLength);
    const offset = gpa - write.gpa;
    return offset + QUADWORD <= write.bytes.length ? view.getBigUint64(offset, true) : 0n;
  };
  for (const { what, gpa, bytes } of writes) {
    if (!NEEDED.has(what)) continue;
    for (const linear of [gpa, gpa + bytes.length - 1]) {
      const walk = walkPageTables({ cr3, cr4, efer, linear, read });
      if ("physical" in walk.result && walk.result.physical === linear) {
        if (what !== "fault stubs" || walk.result.executable) continue;
      }
      throw new RangeError(
        `Cannot catch faults: the page tables do not map the ${what} at ${hex(gpa)} onto itself${
          what === "fault stubs" ? ", for code" : ""
        }. Map its page, or leave out \`catchFaults\`.\n${
          describeWalk(walk).map((line) => `  ${line}`).join("\n")
        }`,
      );
    }
  }
  return state;
}
