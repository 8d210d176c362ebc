import { disassemble, type Instruction } from "../guest/disassemble.ts";
import { EXIT_REASON } from "../kvm/abi/exit_reasons.ts";
import type { ExitRecord } from "./exit_log.ts";
import { codeAt, type GuestPlace, readableBytes } from "./guest_place.ts";
import type { Machine } from "./machine.ts";

const PAGE_SIZE = 4096;
const OPCODE_HLT = 0xf4;

/** The opcodes of `in`, `ins`, `out` and `outs` (Intel SDM Vol. 2, A.3) by direction; the first ones name their port in the next byte. */
const PORT_OPCODES = {
  in: { immediate: [0xe4, 0xe5], plain: [0xec, 0xed], string: [0x6c, 0x6d] },
  out: { immediate: [0xe6, 0xe7], plain: [0xee, 0xef], string: [0x6e, 0x6f] },
};

const REPEATED_STRING = /^rep/;
const USES_MEMORY = /\[|^(rep\w* )?(movs|stos|lods|scas|cmps|ins|outs)|^(push|pop)/;

/**
 * The linear address of the instruction that caused the latest exit of a guest that stands at it; where that cannot be known, of the next one.
 *
 * KVM leaves rip at an instruction that waits for its answer, or that repeats and has not ended; it has moved behind all others, HLT
 * included. So the instruction is the one at rip or the one that ends there, and the exit tells which of the two it can be.
 */
export function exitingInstruction(machine: Machine, place: GuestPlace): number {
  const record = machine.log.latest;
  if (!machine.isAtExit || record === undefined) return place.linear;
  switch (record.reason) {
    case EXIT_REASON.HLT:
      return before(machine, place, (code) => code.at(-1) === OPCODE_HLT) ?? place.linear;
    case EXIT_REASON.IO:
      return ofPort(machine, place, record) ?? place.linear;
    case EXIT_REASON.MMIO:
      return ofMemory(machine, place, record) ?? place.linear;
    default:
      return place.linear;
  }
}

function isUnanswered({ isWrite, answeredBy }: ExitRecord): boolean {
  return !isWrite && answeredBy === undefined;
}

function ofPort(machine: Machine, place: GuestPlace, record: ExitRecord): number | undefined {
  if (isUnanswered(record)) return place.linear;
  const { immediate, plain, string } = PORT_OPCODES[record.isWrite ? "out" : "in"];
  const isPlain = (code: Uint8Array) =>
    plain.includes(code.at(-1)!) ||
    (immediate.includes(code.at(-2)!) && code.at(-1) === record.address);
  const ended = before(machine, place, isPlain);
  if (ended !== undefined && (!repeatsAt(machine, place) || hasValue(machine, record))) {
    return ended;
  }
  if (repeatsAt(machine, place)) return place.linear;
  return before(machine, place, (code) => string.includes(code.at(-1)!));
}

/** Whether the accumulator holds what the exit carried: then it was no string instruction's. */
function hasValue({ registers }: Machine, { value, size }: ExitRecord): boolean {
  return value === BigInt.asUintN(8 * size, registers.rax);
}

function ofMemory(machine: Machine, place: GuestPlace, record: ExitRecord): number | undefined {
  if (isUnanswered(record)) return place.linear;
  if (repeatsAt(machine, place) && isBesideIndex(machine, record)) return place.linear;
  return before(machine, place, (_code, text) => text !== undefined && USES_MEMORY.test(text));
}

/** Whether the instruction at rip is a string instruction that has more to do. */
function repeatsAt(machine: Machine, place: GuestPlace): boolean {
  if (machine.registers.cx === 0) return false;
  const [next] = instructionsAt(machine, place, place.linear, 1);
  return next !== undefined && REPEATED_STRING.test(next.text);
}

/** Whether rsi or rdi has just passed the address of the exit, as far as it lies within a page. */
function isBesideIndex({ registers }: Machine, { address, size }: ExitRecord): boolean {
  const step = registers.rflags.df ? size : -size;
  return [registers.rsi, registers.rdi].some((index) =>
    (Number(BigInt.asUintN(32, index)) + step - address) % PAGE_SIZE === 0
  );
}

/** The address of the instruction that ends at rip, if its bytes and text are as asked. */
function before(
  machine: Machine,
  place: GuestPlace,
  isIt: (code: Uint8Array, text: string | undefined) => boolean,
): number | undefined {
  const { linear, imageBase } = place;
  const line = machine.image.lineAt(linear - imageBase - 1);
  if (line === undefined) return beforeByOpcode(machine, linear, isIt);
  const start = line.address + imageBase;
  const code = readableBytes(machine, start, linear - start);
  const text = instructionsAt(machine, place, start, code.length)
    .find((each) => Number(each.address) + each.bytes.length === linear);
  if (text === undefined) return isIt(code, undefined) ? start : undefined;
  return isIt(text.bytes, text.text) ? Number(text.address) : undefined;
}

/** Without source lines: the one or two bytes before rip, where they are an opcode that is looked for. */
function beforeByOpcode(
  machine: Machine,
  linear: number,
  isIt: (code: Uint8Array, text: string | undefined) => boolean,
): number | undefined {
  const code = readableBytes(machine, Math.max(0, linear - 2), Math.min(2, linear));
  if (!isIt(code, undefined)) return undefined;
  return isIt(code.subarray(1), undefined) ? linear - 1 : linear - 2;
}

function instructionsAt(
  machine: Machine,
  { bits }: GuestPlace,
  address: number,
  count: number,
): readonly Instruction[] {
  return disassemble(codeAt(machine, address, count), { bits, origin: address, count })
    .instructions;
}
