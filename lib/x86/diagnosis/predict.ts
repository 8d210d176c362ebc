import { hex } from "../hex.ts";
import { registerPlace } from "../registers/registers.ts";
import { type Access, accessesOf } from "./accesses.ts";
import { checkControl } from "./control_rules.ts";
import type { GuestView } from "./guest_view.ts";
import { isCanonical } from "../paging/canonical.ts";
import { checkAccess, checkFetch, linearAddressBits } from "./memory_rules.ts";
import { checkOpcode } from "./opcode_rules.ts";
import { type ReadInstruction, readInstruction, registerValue } from "./operands.ts";
import { raise, type Raised } from "./raised.ts";
import { checkLoads } from "./transfer_rules.ts";

/**
 * The exception that the instruction of an incident raises by the manuals' rules, in the order in which the CPU looks
 * (Intel SDM Vol. 3A, 6.9; AMD APM Vol. 2, 8.5): its fetch, its opcode, privileges and control registers, memory,
 * segments; undefined where no rule is broken.
 */
export function predictException(view: GuestView): Raised | undefined {
  const { instruction } = view.incident;
  const read = readInstruction(instruction.text, view.bits);
  return checkFetch(view) ??
    checkOpcode(view, read) ??
    checkControl(view, read) ??
    checkMemory(view, read) ??
    checkLoads(view, read) ??
    checkArithmetic(view, read) ??
    checkTrap(view, read) ??
    checkSysret(view, read);
}

/** Instructions whose operand of 16 bytes may lie anywhere. */
const UNALIGNED = /^(movups|movupd|movdqu|lddqu|v\w+)$/;
const ALIGNED_AVX = /^vmov(aps|apd|dqa(32|64)?|ntps|ntpd|ntdqa?)$/;
const ALIGNED: Readonly<Record<string, number>> = {
  fxsave: 16,
  fxrstor: 16,
  fxsave64: 16,
  fxrstor64: 16,
  cmpxchg16b: 16,
  xsave: 64,
  xrstor: 64,
  xsaveopt: 64,
  xsavec: 64,
};
const OCTWORD = 16;

function checkMemory(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  for (const access of accessesOf(instruction, view.incident, view.bits)) {
    const raised = checkAccess(view, access, alignmentOf(instruction, access));
    if (raised === undefined) continue;
    return {
      ...raised,
      registers: [
        ...addressRegisters(instruction, access),
        ...view.bits === 64 && /^[fg]s$/.test(access.segment) ? [`${access.segment}.base`] : [],
        ...raised.registers,
      ],
    };
  }
  return undefined;
}

/** The multiple that an operand's address must be; vector instructions but those named take 16 bytes aligned only. */
function alignmentOf({ mnemonic }: ReadInstruction, { size, isStack }: Access): number {
  if (isStack) return 1;
  const fixed = ALIGNED[mnemonic];
  if (fixed !== undefined) return fixed;
  if (size < OCTWORD) return 1;
  if (ALIGNED_AVX.test(mnemonic)) return size;
  return size === OCTWORD && !UNALIGNED.test(mnemonic) ? OCTWORD : 1;
}

/** The registers that an access's address is made of. */
function addressRegisters({ operands, mnemonic }: ReadInstruction, access: Access): string[] {
  if (access.isStack) return ["rsp"];
  const memory = operands.find((each) => each.kind === "memory");
  if (memory?.kind === "memory") {
    return memory.terms.map(({ register }) => register)
      .filter((register) => registerPlace(register).register !== "rip");
  }
  if (!/^(movs|stos|lods|scas|cmps|ins|outs)/.test(mnemonic)) return [];
  return [access.segment === "es" ? "rdi" : "rsi", "rcx"];
}

/** The high half of a dividend by the divisor's bytes. */
const DIVIDENDS: Readonly<Record<number, readonly [high: string, low: string]>> = {
  1: ["ah", "al"],
  2: ["dx", "ax"],
  4: ["edx", "eax"],
  8: ["rdx", "rax"],
};
const BYTE_BITS = 8;

function checkArithmetic(view: GuestView, instruction: ReadInstruction): Raised | undefined {
  const { mnemonic, operands: [first] } = instruction;
  const { registers } = view.incident;
  if (mnemonic === "aam" && first?.kind === "immediate" && first.value === 0n) {
    return raise("#DE", "the divisor is 0");
  }
  if (mnemonic !== "div" && mnemonic !== "idiv") return undefined;
  let divisor: bigint | undefined;
  let size = 0;
  let source: Partial<Pick<Raised, "registers" | "memory">> = {};
  if (first?.kind === "register") {
    divisor = registerValue(first.name, registers);
    size = first.size;
    source = { registers: [first.name] };
  } else if (first?.kind === "memory") {
    const [access] = accessesOf(instruction, view.incident, view.bits);
    const linear = view.linearOf(access.segment, access.offset);
    size = access.size;
    divisor = view.number(linear, size);
    source = { memory: { linear, size } };
  }
  if (divisor === undefined) return undefined;
  if (divisor === 0n) return raise("#DE", "the divisor is 0", source);
  const [high, low] = DIVIDENDS[size] ?? DIVIDENDS[4];
  const bits = size * BYTE_BITS;
  const dividend = registerValue(high, registers) << BigInt(bits) | registerValue(low, registers);
  if (fits(mnemonic === "idiv", dividend, divisor, bits)) return undefined;
  return raise(
    "#DE",
    `the quotient of ${hex(dividend)} (${high.toUpperCase()}:${low.toUpperCase()}) by ${
      hex(divisor)
    } does not fit ${bits} bits`,
    { ...source, registers: [high, ...source.registers ?? []] },
  );
}

function fits(isSigned: boolean, dividend: bigint, divisor: bigint, bits: number): boolean {
  if (!isSigned) return (dividend / divisor) >> BigInt(bits) === 0n;
  const quotient = BigInt.asIntN(bits * 2, dividend) / BigInt.asIntN(bits, divisor);
  return BigInt.asIntN(bits, quotient) === quotient;
}

/** What RDMSR and WRMSR raise where no rule here knows the MSR: to be asked only of one that has raised it. */
export function refusedMsr(
  { incident: { instruction, registers }, bits }: GuestView,
): Raised | undefined {
  if (!/^(rd|wr)msr$/.test(readInstruction(instruction.text, bits).mnemonic)) return undefined;
  const number = registerValue("ecx", registers);
  return raise("#GP", `the processor has no MSR ${hex(number)}, or refuses the value`, {
    errorCode: 0,
    registers: ["rcx"],
  });
}

/** SYSRET to where no code can be: Intel's processors raise it before they have left ring 0, AMD's behind it. */
function checkSysret(view: GuestView, { mnemonic, prefixes }: ReadInstruction): Raised | undefined {
  const { rcx } = view.incident.registers;
  if (mnemonic !== "sysret" || !prefixes.includes("o64")) return undefined;
  if (isCanonical(rcx, linearAddressBits(view))) return undefined;
  return raise("#GP", `it returns to RCX = ${hex(rcx)}, which is not canonical`, {
    errorCode: 0,
    registers: ["rcx"],
  });
}

/** Traps that are meant: INT3, INT1, INTO with OF. */
function checkTrap(view: GuestView, { mnemonic }: ReadInstruction): Raised | undefined {
  if (mnemonic === "int3") return raise("#BP", "it raises #BP");
  if (mnemonic === "int1") return raise("#DB", "it raises #DB");
  if (mnemonic === "into" && view.rflags("of")) return raise("#OF", "RFLAGS.OF is set");
  return undefined;
}
