import { disassemble, type Instruction, LONGEST_INSTRUCTION } from "../../guest/disassemble.ts";
import type { CodeLocation } from "../registers/code_location.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { ExitRecord } from "../exits/exit_log.ts";

/**
 * A stopped guest's code as one failure page needs it: read and disassembled once, as each disassembly starts
 * a program.
 */
export class CodeView {
  /** Where the guest is. */
  readonly place: CodeLocation;
  readonly #machine: StoppedCpu;
  #known: readonly Instruction[] = [];

  /** The code of `machine`, whose next instruction is at `place`. */
  constructor(machine: StoppedCpu, place: CodeLocation) {
    this.#machine = machine;
    this.place = place;
  }

  /** As much of memory from a linear address on as is mapped, at most `length` bytes. */
  bytes(address: bigint, length: number): Uint8Array {
    const { linear } = this.#machine;
    try {
      return linear.read(address, length);
    } catch {
      // It ends before that. Whole reads are the rule, so that one byte at a time is not too slow.
    }
    const bytes: number[] = [];
    try {
      while (bytes.length < length) bytes.push(linear.u8(address + BigInt(bytes.length)));
    } catch {
      // The end of what is mapped.
    }
    return new Uint8Array(bytes);
  }

  /**
   * The instructions from a linear address on.
   *
   * @param end An address up to which they are wanted at least.
   * @param count How many are wanted at least from `end` on.
   * @returns Undefined where there is no disassembler.
   */
  instructions(address: bigint, end: bigint, count: number): readonly Instruction[] | undefined {
    const index = this.#known.findIndex((each) => each.address === address);
    if (index !== -1) return this.#known.slice(index);
    const code = this.bytes(address, Number(end - address) + count * LONGEST_INSTRUCTION);
    const { bits } = this.place;
    const { instructions, unavailable } = disassemble(code, { bits, origin: address });
    if (unavailable !== undefined) return undefined;
    this.#known = instructions;
    return instructions;
  }
}

const BYTE_BITS = 8;

const OPCODE_HLT = 0xf4;

/**
 * The opcodes of `in`, `ins`, `out` and `outs` (Intel SDM Vol. 2, A.3) by direction; the first ones name
 * their port in the next byte.
 */
const PORT_OPCODES = {
  in: { immediate: [0xe4, 0xe5], plain: [0xec, 0xed], string: [0x6c, 0x6d] },
  out: { immediate: [0xe6, 0xe7], plain: [0xee, 0xef], string: [0x6e, 0x6f] },
};

const REPEATING_PREFIXES = [0xf2, 0xf3];

/** How an instruction's text looks that may touch memory. */
const USES_MEMORY = /\[|^(rep\w* )?(movs|stos|lods|scas|cmps|ins|outs)|^(push|pop)/;

/**
 * The linear address of the instruction that caused the latest exit of a guest that stands at it, or of the HLT in which
 * it waits; where that cannot be known, of the next one.
 *
 * KVM leaves rip at an instruction that waits for its answer, or that repeats and has not ended; it has moved
 * behind all others, HLT included. So the instruction is the one at rip or the one that ends there, and the
 * exit tells which of the two it can be.
 */
export function exitingInstruction(machine: StoppedCpu, code: CodeView): bigint {
  const record = machine.log.latestOf(machine.number);
  const next = code.place.linear;
  const afterHalt = () => before(machine, code, (bytes) => bytes.at(-1) === OPCODE_HLT) ?? next;
  if (!machine.isAtExit || record === undefined) {
    return machine.mpState === "HALTED" ? afterHalt() : next;
  }
  if (record.fault !== undefined) return machine.fault!.linear;
  const isUnanswered = !record.isWrite && record.answeredBy === undefined;
  switch (record.reason) {
    case EXIT_REASON.HLT:
      return afterHalt();
    case EXIT_REASON.IO:
      return isUnanswered ? next : ofPort(machine, code, record) ?? next;
    case EXIT_REASON.MMIO:
      return isUnanswered ? next : ofMemory(machine, code, record) ?? next;
    default:
      return next;
  }
}

function ofPort(machine: StoppedCpu, code: CodeView, record: ExitRecord): bigint | undefined {
  const { immediate, plain, string } = PORT_OPCODES[record.isWrite ? "out" : "in"];
  const repeats = repeatsAt(machine, code);
  const ended = before(machine, code, (bytes) =>
    plain.includes(bytes.at(-1)!) ||
    (immediate.includes(bytes.at(-2)!) && bytes.at(-1) === record.address));
  if (ended !== undefined && (!repeats || hasValue(machine, record))) return ended;
  return repeats ? undefined : before(machine, code, (bytes) => string.includes(bytes.at(-1)!));
}

/** Whether the accumulator holds what the exit carried: then it was no string instruction's. */
function hasValue({ registers }: StoppedCpu, { value, size }: ExitRecord): boolean {
  return value === BigInt.asUintN(BYTE_BITS * size, registers.rax);
}

function ofMemory(machine: StoppedCpu, code: CodeView, record: ExitRecord): bigint | undefined {
  if (repeatsAt(machine, code) && isBesideIndex(machine, record)) return undefined;
  return before(machine, code, (_bytes, text) => text !== undefined && USES_MEMORY.test(text));
}

/** Whether the instruction at rip is a string instruction that has more to do. */
function repeatsAt(machine: StoppedCpu, code: CodeView): boolean {
  const [prefix] = code.bytes(code.place.linear, 1);
  return REPEATING_PREFIXES.includes(prefix) && machine.registers.cx !== 0;
}

/** Whether rsi or rdi has just passed the address of the exit, as far as it lies within a page. */
function isBesideIndex({ registers }: StoppedCpu, { address, size }: ExitRecord): boolean {
  const step = registers.rflags.df ? size : -size;
  return [registers.rsi, registers.rdi].some((index) =>
    (Number(BigInt.asUintN(32, index)) + step - address) % PAGE_SIZE === 0
  );
}

/** The address of the instruction that ends at rip, if its bytes and its text are as asked. */
function before(
  { image }: StoppedCpu,
  code: CodeView,
  isIt: (bytes: Uint8Array, text: string | undefined) => boolean,
): bigint | undefined {
  const { linear, imageBase } = code.place;
  const line = image.lineOf(linear - imageBase - 1n);
  if (line === undefined) return beforeByOpcode(code, isIt);
  const start = line.address + imageBase;
  const instructions = code.instructions(start, linear, 2);
  if (instructions === undefined) {
    return isIt(code.bytes(start, Number(linear - start)), undefined) ? start : undefined;
  }
  const last = instructions.find((each) => each.address + BigInt(each.bytes.length) === linear);
  return last !== undefined && isIt(last.bytes, last.text) ? last.address : undefined;
}

/** Without source lines: the one or two bytes before rip, where they are an opcode that is looked for. */
function beforeByOpcode(
  code: CodeView,
  isIt: (bytes: Uint8Array, text: string | undefined) => boolean,
): bigint | undefined {
  const { linear } = code.place;
  const bytes = linear < 2n ? new Uint8Array() : code.bytes(linear - 2n, 2);
  if (bytes.length < 2 || !isIt(bytes, undefined)) return undefined;
  return isIt(bytes.subarray(1), undefined) ? linear - 1n : linear - 2n;
}
