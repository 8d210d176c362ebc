import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { GuestView } from "../../x86/diagnosis/guest_view.ts";
import {
  counted,
  type DecodedAt,
  findLoop,
  type LoopInstruction,
  type ReadOfLoop,
  readsOf,
  whyItStays,
} from "../../x86/diagnosis/loop.ts";
import { hex } from "../../x86/hex.ts";
import { msrText } from "../../x86/msrs/msr_number.ts";
import { codeLocation, imageBaseAt } from "../registers/code_location.ts";
import { callersOf } from "./backtrace.ts";
import { CodeView, exitingInstruction } from "./guest_code.ts";
import { branchTarget } from "./place_names.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";
import { nameOf, stopOf, wrapped } from "./what_happened.ts";

/** Bytes that are disassembled at once. */
const PIECE_BYTES = 64;
const MOST_PIECES = 16;
const INSTRUCTIONS_SHOWN = 12;
const READS_SHOWN = 4;
const BYTE_DIGITS = 2;

/**
 * The loop in which a guest was stopped by its time limit: its instructions, what it reads each time, with the value there
 * and who could change it, and what keeps the guest in it. Lines for the page; none where it is in no loop that its
 * instructions tell.
 */
export function loopSection(cpu: StoppedCpu): string[] {
  if (cpu.mpState === "HALTED") return [];
  const code = new CodeView(cpu, codeLocation(cpu));
  const start = exitingInstruction(cpu, code);
  const loop = findLoop(start, decoder(code), callersOf(cpu, code, start));
  if (loop === undefined) return [];
  const view = new GuestView(stopOf(cpu), (linear) => nameOf(cpu, linear));
  const reads = [...new Set(readsOf(loop, view).map((read) => readText(cpu, view, read)))];
  const counters = counted(loop);
  const said = [
    ...reads.slice(0, READS_SHOWN),
    ...reads.length > READS_SHOWN ? [`and it reads ${reads.length - READS_SHOWN} places more`] : [],
    ...reads.length > 0 || counters.length === 0 ? [] : [
      `it reads nothing but its registers, and counts: ${
        counters.map((name) => `${name.toUpperCase()} is ${hex(view.incident.registers[name])}`)
          .join(", ")
      }`,
    ],
    whyItStays(loop, (linear) => view.place(linear)),
    ...interruptText(cpu),
  ];
  return [
    "the loop in which it was stopped",
    ...rows(cpu, loop, start),
    ...said.flatMap((line) =>
      wrapped(line).map((row, index) => `    ${index === 0 ? "" : "  "}${row}`)
    ),
  ];
}

/** Decodes instructions piece by piece: each starts a program. */
function decoder(code: CodeView): (linear: bigint) => DecodedAt | undefined {
  const known = new Map<bigint, DecodedAt>();
  let pieces = 0;
  return (linear) => {
    if (!known.has(linear) && pieces++ < MOST_PIECES) {
      const found = code.instructions(linear, linear + BigInt(PIECE_BYTES), 0) ?? [];
      // The last may be cut off.
      for (const { address, bytes, text } of found.slice(0, found.length > 1 ? -1 : 1)) {
        if (!known.has(address)) known.set(address, { text, length: bytes.length });
      }
    }
    return known.get(linear);
  };
}

function rows(cpu: StoppedCpu, loop: readonly LoopInstruction[], start: bigint): string[] {
  const shown = loop.slice(0, INSTRUCTIONS_SHOWN);
  const { image, registers } = cpu;
  const more = loop.length - shown.length;
  return [
    ...shown.map(({ linear, text }) => {
      const { imageBase } = imageBaseAt(image, linear, registers.cs.base);
      const target = branchTarget(image, text, imageBase);
      return `    ${linear === start ? "→" : " "} ${hex(linear)}  ${text}  ${target}`.trimEnd();
    }),
    ...more > 0 ? [`      … and ${more} more`] : [],
  ];
}

function readText(cpu: StoppedCpu, view: GuestView, read: ReadOfLoop): string {
  switch (read.kind) {
    case "time":
      return "it reads the time-stamp counter";
    case "MSR":
      return `it reads ${read.index === undefined ? "an MSR" : `MSR ${msrText(read.index)}`}`;
    case "port":
      return portText(cpu, read.port);
    case "memory":
      return memoryText(cpu, view, read);
  }
}

function portText(cpu: StoppedCpu, port: number | undefined): string {
  if (port === undefined) return "it reads a port";
  const name = `it reads port ${hex(port)}`;
  const answered = answers(cpu, EXIT_REASON.IO, port);
  return answered === undefined
    ? `${name}, which makes no exit: the kernel answers it`
    : `${name}${answered}`;
}

function memoryText(cpu: StoppedCpu, view: GuestView, read: ReadOfLoop): string {
  if (read.kind !== "memory") return "";
  const { linear, size, isWritten, by } = read;
  if (linear === undefined) return `it reads memory by \`${by.text}\`, not always at one address`;
  const name = `it reads ${sizeText(size)} at ${view.place(linear)}`;
  const physical = view.physical(linear);
  if (physical === undefined) return `${name}, where nothing is mapped`;
  const value = view.number(linear, size);
  if (value === undefined) {
    const answered = answers(cpu, EXIT_REASON.MMIO, physical);
    return answered === undefined ? `${name}, where there is no memory` : `${name}${answered}`;
  }
  const is = `${name}: ${hex(value, BYTE_DIGITS * size)}`;
  return isWritten
    ? `${is}, and writes it at once: a lock that nobody releases?`
    : `${is}. It is memory, which only ${writersOf(cpu)} could write meanwhile`;
}

function sizeText(size: number): string {
  return { 1: "a byte", 2: "a word", 4: "a dword", 8: "a qword" }[size] ?? `${size} bytes`;
}

/** How a device has answered a read of late; undefined where there was none. */
function answers({ log }: StoppedCpu, reason: number, address: number): string | undefined {
  const reads = log.records().filter((each) =>
    each.reason === reason && !each.isWrite && each.address === address &&
    each.value !== undefined
  );
  const last = reads.at(-1);
  if (last === undefined) return undefined;
  const from = reads.findLastIndex(({ value }) => value !== last.value) + 1;
  const count = reads.length - from;
  return `, which ${last.answeredBy ?? "nobody"} has answered with ${hex(last.value!)}${
    count === 1 ? "" : `, the last ${count} times that are in the log`
  }`;
}

/** Who could write to memory while the guest waits for it. */
function writersOf({ machine: { cpus }, number, registers }: StoppedCpu): string {
  const others = cpus.filter((each) => each.number !== number).map((each) => each.number);
  return [
    ...registers.rflags.if ? ["an interrupt's handler"] : [],
    ...others.length === 0 ? [] : [`CPU ${others.join(", ")}`],
    "a device or the test",
  ].join(", ");
}

/** Whether an interrupt could change anything. */
function interruptText({ registers }: StoppedCpu): string[] {
  return registers.rflags.if ? [] : ["RFLAGS.IF is clear: no interrupt leads out of it"];
}
