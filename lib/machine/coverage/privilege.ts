import type { AddressSpace } from "../memory/address_space.ts";
import { codeBits } from "../registers/code_location.ts";
import type { Registers } from "../registers/registers.ts";

const OPERAND_SIZE_PREFIX = 0x66;
/** REX.W, with any of its other bits. */
const REX_W = { mask: 0xf8, value: 0x48 } as const;
const OPCODE = { iret: 0xcf, retFar: 0xcb, retFarImmediate: 0xca } as const;
const RPL = 3n;
const FLAG = { tf: 1n << 8n, vm: 1n << 17n } as const;
/** Where a far return's frame has what: the first word is RIP. */
const WORD = { cs: 1, flags: 2 } as const;

/** What an instruction that may lower the CPU's privilege leads to. */
export interface GateTarget {
  /** Code of the same privilege, of a lower one, or that of a guest of its own. */
  readonly to: "same privilege" | "lower privilege" | "own guest";
  /** Whether the guest single-steps itself from there on: by RFLAGS.TF. */
  readonly steps: boolean;
}

/** The CPU that stands before it, at CPL 0. */
interface GateCpu {
  readonly registers: Registers;
  readonly linear: AddressSpace<bigint>;
}

/**
 * What the instruction that a CPU stands before leads to: a far return, SYSRET, SYSEXIT, VMRUN, VMLAUNCH, VMRESUME.
 *
 * @param code Its bytes.
 * @param text Its line, for those that are known by name.
 */
export function gateTarget(cpu: GateCpu, code: Uint8Array, text: string): GateTarget {
  if (/\bvm(?:run|launch|resume)\b/i.test(text)) return { to: "own guest", steps: false };
  const { registers } = cpu;
  const bits = codeBits(registers);
  const isPrefix = (byte: number) => byte === OPERAND_SIZE_PREFIX || (bits === 64 && isRexW(byte));
  const opcode = code.find((byte) => !isPrefix(byte));
  const isIret = opcode === OPCODE.iret;
  const isReturn = isIret || opcode === OPCODE.retFar || opcode === OPCODE.retFarImmediate;
  const isProtected = registers.cr0.pe;
  // SYSRET, SYSEXIT; a task that returns to the one before it, whose privilege its TSS has.
  if (!isReturn || (isIret && isProtected && registers.rflags.nt)) {
    return { to: "lower privilege", steps: false };
  }
  const isOtherSize = code[0] === OPERAND_SIZE_PREFIX;
  const size = bits === 64 && code.some(isRexW) ? 8 : (bits === 16) === isOtherSize ? 4 : 2;
  try {
    const word = (index: number) => stackWord(cpu, index * size, size);
    const flags = isIret ? word(WORD.flags) : 0n;
    const steps = (flags & FLAG.tf) !== 0n;
    const entersVm = size === 4 && (flags & FLAG.vm) !== 0n;
    const lowers = isProtected && (entersVm || (word(WORD.cs) & RPL) !== 0n);
    return { to: lowers ? "lower privilege" : "same privilege", steps };
  } catch (error) {
    // A stack that is not there is the guest's fault to take.
    if (error instanceof RangeError) return { to: "same privilege", steps: false };
    throw error;
  }
}

function isRexW(byte: number): boolean {
  return (byte & REX_W.mask) === REX_W.value;
}

/** So many bytes above the stack pointer. */
function stackWord({ registers, linear }: GateCpu, above: number, size: number): bigint {
  const { ss, rsp } = registers;
  const is64 = codeBits(registers) === 64;
  const width = is64 ? 64 : ss.db ? 32 : 16;
  const offset = BigInt.asUintN(width, rsp + BigInt(above));
  return linear.read((is64 ? 0n : ss.base) + offset, size)
    .reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
}
