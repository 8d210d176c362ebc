import { disassemble } from "../../guest/disassemble.ts";
import { KVM_INTERNAL_ERROR } from "../../kvm/abi/mod.ts";
import type { Exit, FailEntryExit, InternalErrorExit } from "../../kvm/exits/exit.ts";
import { explainEntryFailure } from "../../x86/entry_checks/explain_entry_failure.ts";
import { exceptions } from "../../x86/exceptions/exceptions.ts";
import { hex, hexBytes } from "../../x86/hex.ts";
import { codeLocation } from "../registers/code_location.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

const QUADWORD_SIZE = 8;

/** What KVM means by its sub-errors (Documentation/virt/kvm/api.rst, 5, KVM_EXIT_INTERNAL_ERROR). */
const SUBERRORS: ReadonlyMap<number, string> = new Map([
  [
    KVM_INTERNAL_ERROR.EMULATION,
    "KVM had to carry out an instruction itself, for what it does needs a device or a mode that the hardware does " +
    "not run, and does not know how, or could not fetch it",
  ],
  [
    KVM_INTERNAL_ERROR.SIMUL_EX,
    "one exception came while another was delivered, in a way that KVM cannot resolve",
  ],
  [
    KVM_INTERNAL_ERROR.DELIVERY_EV,
    "the hardware left the guest while it delivered an event, for a reason that KVM cannot resolve: is the IDT, or " +
    "the handler's stack, in memory?",
  ],
  [
    KVM_INTERNAL_ERROR.UNEXPECTED_EXIT_REASON,
    "the hardware left the guest for a reason that KVM does not handle",
  ],
]);

/**
 * What an exit that ends a guest says of the guest, in lines: of FAIL_ENTRY, which rules the registers break; of
 * INTERNAL_ERROR, what KVM could not do, and with which instruction. Empty for all others.
 */
export function explainExit(machine: StoppedCpu, exit: Exit): string[] {
  switch (exit.reason) {
    case "FAIL_ENTRY":
      return failEntry(machine, exit);
    case "INTERNAL_ERROR":
      return internalError(machine, exit);
    default:
      return [];
  }
}

function failEntry(machine: StoppedCpu, exit: FailEntryExit): string[] {
  const { rip, rflags } = machine.registers;
  const lines = explainEntryFailure(exit.hardware_entry_failure_reason, {
    registers: { rip, rflags: rflags.value },
    specialRegisters: machine.kvm.vcpu.registers.getSregs(),
    read: (gpa) => quadword(machine, gpa),
  });
  return lines.length === 1 ? lines : [...lines, NOT_BY_THE_GUEST];
}

const NOT_BY_THE_GUEST =
  "  As a rule no guest brings itself there: its registers were set from outside (vm.registers, the options of boot).";

function quadword({ memory }: StoppedCpu, gpa: number): bigint | undefined {
  try {
    return new DataView(memory.read(gpa, QUADWORD_SIZE).slice().buffer).getBigUint64(0, true);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function internalError(machine: StoppedCpu, exit: InternalErrorExit): string[] {
  const { suberror, suberrorName = "an unknown sub-error", emulation_failure, data } = exit;
  const meaning = SUBERRORS.get(suberror);
  const head = `${suberrorName} (sub-error ${suberror})${
    meaning === undefined ? "" : `: ${meaning}`
  }.`;
  const bytes = emulation_failure?.insn_bytes;
  return [
    head,
    ...bytes === undefined || bytes.length === 0
      ? []
      : [`  at the instruction ${instruction(machine, bytes)}`],
    ...suberror === KVM_INTERNAL_ERROR.DELIVERY_EV && data.length > 0
      ? [`  it was delivering ${vectoredEvent(Number(data[0]))}`]
      : [],
    ...bytes !== undefined || data.length === 0
      ? []
      : [`  KVM's data: ${data.map((each) => hex(each)).join(" ")}`],
  ];
}

/** Types of events that were being delivered at an exit (Intel SDM Vol. 3C, 24.9.3; AMD APM Vol. 2, 15.7.2). */
const EVENT_TYPES: Readonly<Record<number, string>> = {
  0: "an external interrupt",
  2: "an NMI",
  3: "an exception",
  4: "a software interrupt",
  6: "a software exception",
};
const VECTOR_MASK = 0xff;
const TYPE_SHIFT = 8;
const TYPE_MASK = 7;

function vectoredEvent(info: number): string {
  const vector = info & VECTOR_MASK;
  const name = exceptions[vector]?.name;
  return `vector ${vector}${name === undefined ? "" : ` (${name})`}, ${
    EVENT_TYPES[info >>> TYPE_SHIFT & TYPE_MASK] ?? "an event of another kind"
  }`;
}

/** The bytes, which may go on behind the instruction, and the text of the first one in them. */
function instruction(machine: StoppedCpu, bytes: Uint8Array): string {
  const { bits, linear } = codeLocation(machine);
  const [first] = disassemble(bytes, { bits, origin: linear, count: 1 }).instructions;
  const shown = first === undefined ? bytes : first.bytes;
  const digits = hexBytes(shown);
  return first === undefined ? digits : `${digits}  ${first.text}`;
}
