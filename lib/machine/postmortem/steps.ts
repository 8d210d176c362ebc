import { disassemble, LONGEST_INSTRUCTION } from "../../guest/disassemble.ts";
import { kvm_regs, kvm_sregs } from "../../kvm/abi/structs/registers.ts";
import type { CodeBits, GeneralRegisters, SpecialRegisters } from "../../x86/boot/cpu_state.ts";
import { hex } from "../../x86/hex.ts";
import type { Cpu } from "../cpu.ts";
import { codeBits, linearInstructionPointer } from "../registers/code_location.ts";

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

/** The CPU as it stands. */
export function momentOf({ store, registers, linear: memory }: Cpu): Moment {
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

/** Whether a CPU stands where it was at a moment. */
export function isAt({ store }: Cpu, { general }: Moment): boolean {
  const now = new Uint8Array(store.view("general").buffer);
  return general.every((byte, index) => byte === now[index]);
}

/** Puts a CPU where it was at a moment. */
export function putBack({ vcpu, store }: Cpu, { general, special }: Moment): void {
  vcpu.registers.setSregs(special);
  vcpu.registers.setRegs(general);
  store.forget();
}

/** An instruction. */
export interface DecodedInstruction {
  /** Its text; empty where there is none, or no disassembler. */
  readonly text: string;
  /** Its bytes; 0 where there is none. */
  readonly length: number;
}

/** As many `nop`s behind the bytes of each instruction that what follows in them ends there. */
const STRIDE = 32;
const OPCODE_NOP = 0x90;

/** The same of moments at the same place: its address, the width of code, and its bytes. */
export function placeKey({ linear, bits, bytes }: Moment): string {
  return `${linear} ${bits} ${bytes}`;
}

/** Each moment's instruction, decoded once for each place, however often a loop comes there. */
export function decoded(moments: readonly Moment[]): DecodedInstruction[] {
  const keys = moments.map(placeKey);
  const places = new Map(keys.map((key, index) => [key, moments[index]]));
  const found = decodedOnce([...places.values()]);
  const byKey = new Map([...places.keys()].map((key, index) => [key, found[index]]));
  return keys.map((key) => byKey.get(key)!);
}

/** The disassembler is started once for each width of code. */
function decodedOnce(moments: readonly Moment[]): DecodedInstruction[] {
  const found: DecodedInstruction[] = moments.map(() => ({ text: "", length: 0 }));
  for (const bits of [16, 32, 64] as const) {
    const these = moments.flatMap((moment, index) =>
      moment.bits === bits && moment.bytes.length > 0 ? [{ moment, index }] : []
    );
    if (these.length === 0) continue;
    const code = new Uint8Array(these.length * STRIDE).fill(OPCODE_NOP);
    these.forEach(({ moment }, at) => code.set(moment.bytes, at * STRIDE));
    const { instructions } = disassemble(code, { bits });
    for (const { offset, text, bytes } of instructions) {
      if (offset % STRIDE !== 0) continue;
      const { index, moment } = these[offset / STRIDE];
      found[index] = { text: moved(text, BigInt(offset), moment), length: bytes.length };
    }
  }
  return found;
}

/** A jump within the segment, and where it goes. */
const JUMP = /^((?:j|call|loop)[^:]* )(0x[\da-f]+)$/;

/** The text of an instruction that was disassembled elsewhere: a jump goes from where it lies. */
function moved(text: string, from: bigint, { linear, bits }: Moment): string {
  return text.replace(JUMP, (_, jump, target) => {
    const distance = BigInt.asIntN(bits, BigInt(target) - from);
    return jump + hex(BigInt.asUintN(64, linear + distance));
  });
}

/** Where an instruction that jumps within its segment goes; undefined for others. */
export function jumpTarget(text: string): bigint | undefined {
  const target = JUMP.exec(text)?.[2];
  return target === undefined ? undefined : BigInt(target);
}
