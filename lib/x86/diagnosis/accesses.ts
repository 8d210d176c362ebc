import type { CodeBits } from "../boot/cpu_state.ts";
import type { GuestView } from "./guest_view.ts";
import type { IncidentState, IncidentStep } from "./incident.ts";
import {
  effectiveAddress,
  isSegmentRegister,
  type MemoryOperand,
  type Operand,
  type ReadInstruction,
  readInstruction,
  registerValue,
  type SegmentRegister,
} from "./operands.ts";

/** An access to memory that an instruction makes. */
export interface Access {
  /** The segment. */
  readonly segment: SegmentRegister;
  /** The offset in it. */
  readonly offset: bigint;
  /** Bytes. */
  readonly size: number;
  /** Whether it writes. */
  readonly write: boolean;
  /** Whether it is the stack's, by rSP. */
  readonly isStack: boolean;
}

/** How many bytes memory operands have that no keyword and no register tells. */
const OPERAND_BYTES: Readonly<Record<string, number>> = {
  fxsave: 512,
  fxrstor: 512,
  fxsave64: 512,
  fxrstor64: 512,
  ldmxcsr: 4,
  stmxcsr: 4,
  fldcw: 2,
  fstcw: 2,
  fnstcw: 2,
};
/** Instructions that only read an operand in memory that comes first. */
const READS_DESTINATION =
  /^(cmp|test|push|call|jmp|bt|div|idiv|mul|imul|l[gil]dt|ltr|lmsw|ldmxcsr|fx?rstor\w*|xrstor\w*|fi?(ld|add|subr?|mul|divr?|com|comp)\w*|fldcw|fbld|ver[rw]|u?comis[sd]|ptest|out\w*)$/;
/** Instructions whose operand in memory is not accessed. */
const NO_ACCESS = /^(lea|nop|prefetch\w*|invlpg|clflush\w*|hint_nop\d+)$/;
const STRING = /^(movs|stos|lods|scas|cmps|ins|outs)([bwdq])$/;
const STRING_BYTES: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8 };
const FAR_POINTER = /^l[defgs]s$/;
/** PUSHA and POPA move eight registers, ENTER and LEAVE one. */
const ALL_REGISTERS = 8;
const SELECTOR_BYTES = 2;
const BYTE_BITS = 8;

/** The bytes that an instruction's operands have by default: as its prefix says, or the code's width. */
export function operandBytes({ prefixes, mnemonic }: ReadInstruction, bits: CodeBits): number {
  const prefix = prefixes.map((each) => /^o(16|32|64)$/.exec(each)?.[1]).find((each) => each);
  if (prefix !== undefined) return Number(prefix) / BYTE_BITS;
  const suffix = /^(?:iret|retf?|push[af]|pop[af])([wdq])$/.exec(mnemonic)?.[1];
  if (suffix !== undefined) return STRING_BYTES[suffix];
  if (bits !== 64) return bits / BYTE_BITS;
  // In 64-bit mode far returns have 32 bits by default, near ones and the stack's instructions 64.
  return /^(retf|iret)$/.test(mnemonic) ? 4 : 8;
}

/** How many bits of the stack pointer count (Intel SDM Vol. 1, 6.2.3). */
export function stackBits({ specialRegisters: { ss, cs, efer } }: IncidentState): CodeBits {
  if ((efer >> 10n & 1n) === 1n && cs.l) return 64;
  return ss.db ? 32 : 16;
}

/** The accesses of an instruction with these registers, as far as its text tells them. */
export function accessesOf(
  instruction: ReadInstruction,
  state: IncidentState,
  bits: CodeBits,
): Access[] {
  if (NO_ACCESS.test(instruction.mnemonic)) return [];
  return [
    ...operandAccesses(instruction, state, bits),
    ...stringAccesses(instruction, state, bits),
    ...stackAccesses(instruction, state, bits),
  ];
}

function operandAccesses(
  instruction: ReadInstruction,
  { registers }: IncidentState,
  bits: CodeBits,
): Access[] {
  const { mnemonic, operands } = instruction;
  return operands.flatMap((operand, index) => {
    if (operand.kind !== "memory") return [];
    return [{
      segment: operand.segment,
      offset: effectiveAddress(operand, registers),
      size: memorySize(instruction, operand, bits),
      write: index === 0 && !READS_DESTINATION.test(mnemonic),
      isStack: false,
    }];
  });
}

function memorySize(
  instruction: ReadInstruction,
  operand: MemoryOperand,
  bits: CodeBits,
): number {
  const { mnemonic, operands } = instruction;
  const fixed = OPERAND_BYTES[mnemonic];
  if (fixed !== undefined) return fixed;
  if (/^[ls][gi]dt$/.test(mnemonic)) return SELECTOR_BYTES + (bits === 64 ? 8 : 4);
  const register = operands.find((each) => each.kind === "register");
  const size = operand.size ?? registerBytes(register) ?? operandBytes(instruction, bits);
  return operand.isFar || FAR_POINTER.test(mnemonic) ? farPointerBytes(size, bits) : size;
}

function farPointerBytes(size: number, bits: CodeBits): number {
  return Math.min(size, bits === 64 ? 4 : size) + SELECTOR_BYTES;
}

function registerBytes(operand: Operand | undefined): number | undefined {
  return operand?.kind === "register" ? operand.size : undefined;
}

function stringAccesses(
  { mnemonic, prefixes }: ReadInstruction,
  { registers }: IncidentState,
  bits: CodeBits,
): Access[] {
  const override = prefixes.map((each) => /^a(16|32|64)$/.exec(each)?.[1]).find((each) => each);
  const addressBits = override === undefined ? bits : Number(override);
  const prefix = addressBits === 64 ? "r" : addressBits === 32 ? "e" : "";
  const source = prefixes.find(isSegmentRegister) ?? "ds";
  if (mnemonic === "xlatb") {
    const offset = registerValue(`${prefix}bx`, registers) + registerValue("al", registers);
    const masked = BigInt.asUintN(addressBits, offset);
    return [{ segment: source, offset: masked, size: 1, write: false, isStack: false }];
  }
  const [, operation, width] = STRING.exec(mnemonic) ?? [];
  if (operation === undefined) return [];
  const repeats = prefixes.some((each) => each.startsWith("rep"));
  if (repeats && registerValue(`${prefix}cx`, registers) === 0n) return [];
  const size = STRING_BYTES[width];
  const from = {
    segment: source,
    offset: registerValue(`${prefix}si`, registers),
    size,
    write: false,
    isStack: false,
  };
  const to = {
    segment: "es" as const,
    offset: registerValue(`${prefix}di`, registers),
    size,
    write: operation !== "scas" && operation !== "cmps",
    isStack: false,
  };
  if (operation === "lods" || operation === "outs") return [from];
  return operation === "movs" || operation === "cmps" ? [from, to] : [to];
}

function stackAccesses(
  instruction: ReadInstruction,
  state: IncidentState,
  bits: CodeBits,
): Access[] {
  const { mnemonic, operands: [first] } = instruction;
  const size = stackOperandBytes(instruction, bits);
  const width = stackBits(state);
  const top = BigInt.asUintN(width, state.registers.rsp);
  const pushed = (slots: number) => [{
    segment: "ss" as const,
    offset: BigInt.asUintN(width, top - BigInt(slots * size)),
    size: slots * size,
    write: true,
    isStack: true,
  }];
  const popped = (slots: number) => [{
    segment: "ss" as const,
    offset: top,
    size: slots * size,
    write: false,
    isStack: true,
  }];
  const isFar = first?.kind === "far pointer" || (first?.kind === "memory" && first.isFar);
  if (/^pusha[wd]?$/.test(mnemonic)) return pushed(ALL_REGISTERS);
  if (/^popa[wd]?$/.test(mnemonic)) return popped(ALL_REGISTERS);
  if (mnemonic === "call") return pushed(isFar ? 2 : 1);
  if (/^push(f[wdq]?)?$/.test(mnemonic) || mnemonic === "enter") return pushed(1);
  if (/^pop(f[wdq]?)?$/.test(mnemonic) || /^ret[wdq]?$/.test(mnemonic)) return popped(1);
  if (/^retf[wdq]?$/.test(mnemonic)) return popped(2);
  if (/^iret[wdq]?$/.test(mnemonic)) return popped(3);
  if (mnemonic === "leave") {
    const frame = BigInt.asUintN(width, state.registers.rbp);
    return [{ segment: "ss", offset: frame, size, write: false, isStack: true }];
  }
  return [];
}

/** The bytes of one slot that a stack instruction moves. */
function stackOperandBytes(instruction: ReadInstruction, bits: CodeBits): number {
  const { mnemonic, operands: [first] } = instruction;
  if (/^(push|pop)$/.test(mnemonic)) {
    if (first?.kind === "register" && !isSegmentRegister(first.name)) return first.size;
    if (first?.kind === "memory" && first.size !== undefined) return first.size;
  }
  return operandBytes(instruction, bits);
}

/** The bytes of memory that a step wrote, by linear addresses. */
export function memoryWrites(
  view: GuestView,
  step: IncidentStep,
): { readonly linear: bigint; readonly size: number }[] {
  const special = step.specialRegisters ?? view.special;
  const bits = step.bits ?? codeBits({ ...step, specialRegisters: special });
  const instruction = readInstruction(step.text, bits);
  const repeated = instruction.prefixes.some((each) => each.startsWith("rep"));
  return accessesOf(instruction, { ...step, specialRegisters: special }, bits)
    .filter(({ write }) => write)
    .map(({ segment, offset, size }) => {
      const base = bits === 64 && segment !== "fs" && segment !== "gs" ? 0n : special[segment].base;
      const count = repeated ? Number(BigInt.asUintN(32, step.registers.rcx)) : 1;
      return { linear: base + offset, size: size * count };
    });
}

/** The width of the code that a CPU with these registers executes (Intel SDM Vol. 3A, 3.4.5). */
export function codeBits({ specialRegisters: { cs, efer } }: IncidentState): CodeBits {
  if ((efer >> 10n & 1n) === 1n && cs.l) return 64;
  return cs.db ? 32 : 16;
}
