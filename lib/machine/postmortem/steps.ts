import { disassemble } from "../../guest/disassemble.ts";
import { KVM_GUESTDBG } from "../../kvm/abi/mod.ts";
import { kvm_regs, kvm_sregs } from "../../kvm/abi/structs/registers.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import type { CodeBits, GeneralRegisters, SpecialRegisters } from "../../x86/boot/cpu_state.ts";
import { hex } from "../../x86/hex.ts";
import { codeBits, linearInstructionPointer } from "../registers/code_location.ts";
import { type RepeatedRun, RepeatError } from "./repeated_run.ts";

/** How many instructions are executed one by one at most. */
const MOST_STEPS = 5_000;

/** How many of them are kept. */
const KEPT_STEPS = 64;

/** The longest instruction (Intel SDM Vol. 2, 2.3.11). */
const LONGEST_INSTRUCTION = 15;

/** A CPU right before an instruction. */
export interface Moment {
  /** The linear address of the instruction. */
  readonly linear: bigint;
  /** The width of the code. */
  readonly bits: CodeBits;
  /** The bytes there, as many as can be read and as an instruction may have. */
  readonly bytes: Uint8Array;
  /** `struct kvm_regs`. */
  readonly general: Uint8Array<ArrayBuffer>;
  /** `struct kvm_sregs`. */
  readonly special: Uint8Array<ArrayBuffer>;
}

/** Instructions that a guest has executed one by one, and how that ended. */
export interface Steps {
  /** The moments before the last of them, oldest first: before the last itself, which did not complete, comes last. */
  readonly moments: readonly Moment[];
  /** How many instructions have completed. */
  readonly count: number;
  /** The exit by which it ended. */
  readonly exit: Exit;
  /** The event that was being delivered then, instead of an instruction. */
  readonly interrupt: RepeatedRun["interrupt"];
}

/**
 * Executes the guest's instructions one by one until one has another end than the next instruction.
 *
 * @throws {RepeatError} When there are too many of them.
 */
export function stepToEnd(run: RepeatedRun): Steps {
  const { vcpu } = run;
  const moments: Moment[] = [];
  run.complete();
  try {
    for (let count = 0; count < MOST_STEPS; count++) {
      // Anew for each: KVM drops TF where it has emulated an instruction.
      vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
      moments.push(momentOf(run));
      if (moments.length > KEPT_STEPS) moments.shift();
      const { interrupt } = run;
      const exit = run.enter()!;
      if (exit.reason !== "DEBUG") return { moments, count, exit, interrupt };
    }
  } finally {
    vcpu.setGuestDebug(0);
  }
  throw new RepeatError(
    `behind exit ${run.exit} it executed more than ${MOST_STEPS} instructions`,
  );
}

/** The CPU as it stands. */
function momentOf(
  { board: { cpus: [{ store, registers, linear: memory }] } }: RepeatedRun,
): Moment {
  const linear = linearInstructionPointer(registers);
  return {
    linear,
    bits: codeBits(registers),
    bytes: codeAt(memory, linear),
    general: new Uint8Array(store.view("general").buffer.slice()),
    special: new Uint8Array(store.view("special").buffer.slice()),
  };
}

function codeAt(
  memory: { read(address: bigint, length: number): Uint8Array },
  linear: bigint,
): Uint8Array {
  for (let length = LONGEST_INSTRUCTION; length > 0; length--) {
    try {
      return memory.read(linear, length);
    } catch {
      // Behind the end of what is mapped.
    }
  }
  return new Uint8Array();
}

/** The registers of a moment. */
export function registersOf(
  { general, special }: Moment,
): { readonly registers: GeneralRegisters; readonly specialRegisters: SpecialRegisters } {
  return {
    registers: kvm_regs.read(new DataView(general.buffer)),
    specialRegisters: kvm_sregs.read(new DataView(special.buffer)),
  };
}

/** As many `nop`s behind the bytes of each instruction that what follows in them ends there. */
const STRIDE = 32;
const OPCODE_NOP = 0x90;

/** The text of each moment's instruction; empty where there is none, or no disassembler. Each width starts it once. */
export function textsOf(moments: readonly Moment[]): string[] {
  const texts: string[] = moments.map(() => "");
  for (const bits of [16, 32, 64] as const) {
    const these = moments.flatMap((moment, index) =>
      moment.bits === bits && moment.bytes.length > 0 ? [{ moment, index }] : []
    );
    if (these.length === 0) continue;
    const code = new Uint8Array(these.length * STRIDE).fill(OPCODE_NOP);
    these.forEach(({ moment }, at) => code.set(moment.bytes, at * STRIDE));
    const { instructions } = disassemble(code, { bits });
    for (const { offset, text } of instructions) {
      if (offset % STRIDE !== 0) continue;
      const { index, moment } = these[offset / STRIDE];
      texts[index] = moved(text, BigInt(offset), moment);
    }
  }
  return texts;
}

/** The text of an instruction that was disassembled elsewhere: a jump within the segment goes from where it lies. */
function moved(text: string, from: bigint, { linear, bits }: Moment): string {
  return text.replace(/^((?:j|call|loop)[^:]* )(0x[\da-f]+)$/, (_, jump, target) => {
    const distance = BigInt.asIntN(bits, BigInt(target) - from);
    return jump + hex(BigInt.asUintN(64, linear + distance));
  });
}
