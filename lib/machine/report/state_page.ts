import { backtrace } from "./backtrace.ts";
import type { Image } from "../../guest/image.ts";
import type { SourceLine } from "../../guest/image_init.ts";
import { hex, hexBytes } from "../../x86/hex.ts";
import { emulatedMachineName } from "../host/emulated_machine.ts";
import { CodeView, exitingInstruction } from "./guest_code.ts";
import { explainExit } from "./explain_exit.ts";
import { cpusSection, replayLines, subject } from "./cpus_section.ts";
import { exitRows, exitRuns } from "./exit_text.ts";
import { interruptsSection } from "./interrupts_section.ts";
import { CalledWith } from "./frame_arguments.ts";
import { codeBits, codeLocation } from "../registers/code_location.ts";
import { isReset, ownIdt, registersSection } from "./registers_section.ts";
import { loopSection } from "./loop_section.ts";
import { isOutsideImage, outsideImage } from "./outside_image.ts";
import { branchTarget, placeNames } from "./place_names.ts";
import { type Postmortem, postmortemOf, type PostmortemResult } from "./postmortem.ts";
import { isAtExitOf, type StoppedCpu } from "./stopped_cpu.ts";
import { isWorthARun, whatHappened, whatIsOdd } from "./what_happened.ts";

const LINES_BEFORE = 3;
const LINES_AFTER = 2;
const EXITS_SHOWN = 8;
const SERIAL_SHOWN = 400;
const INSTRUCTIONS_SHOWN = 3;
const BYTES_SHOWN = 16;
const BYTE_DIGITS = 2;

/** What would move the reader's cursor or colour the terminal, or is no character of an XML report. */
const CONTROL = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu;

/** Why a stopped guest is shown. */
export interface PageReason {
  /** A time limit has stopped it: it may be in a loop. */
  readonly isOverTime?: boolean;
  /** What it has done is another thing than its test expects: its way is looked at, though it stands well. */
  readonly isOfWay?: boolean;
}

/**
 * Where a stopped guest is and how it came there, for failure pages: the source around the instruction that
 * caused the latest exit (around the next instruction, where there is no such), the instructions there, the
 * registers that changed since boot, the last exits, and the serial line.
 *
 * It is plain text of the characters that every terminal and report can hold. It never throws: what cannot be
 * read is left out, because a page about a failure must not hide it behind another.
 *
 * @param why Why it is shown.
 */
export function statePage(machine: StoppedCpu, why: PageReason = {}): string {
  const end = repeatedEnd(machine, why);
  // Of a guest that has shut down, or was not entered, the machine on which it was run once more has the registers.
  const isElsewhere = isShutDown(machine) || isAtExitOf(machine, "FAIL_ENTRY");
  const shown = isElsewhere && end !== undefined && "cpu" in end ? end.cpu : machine;
  return [
    () => replayLines(machine),
    () => explanation(machine, shown),
    () => chain(machine, end, why),
    () => place(shown, end),
    () => tripleFault(machine, shown),
    () => isShutDown(machine) ? repeatLines(machine, end) : [],
    () => why.isOverTime ? loopSection(machine) : [],
    () => interruptsSection(machine),
    () => registersSection(shown),
    () => cpusSection(machine),
    () => exits(machine),
    () => serial(machine),
    kvmInUse,
  ]
    .flatMap(attempt)
    .join("\n");
}

/** Where a repeated run was, right before an instruction, and what is wrong there. */
export function pageOfRepeat(machine: StoppedCpu, found: Postmortem): string {
  return [
    () => whatHappened(found),
    () => place(found.cpu),
    () => registersSection(found.cpu),
    () => exits(machine),
    kvmInUse,
  ]
    .flatMap(attempt)
    .join("\n");
}

function isShutDown(machine: StoppedCpu): boolean {
  return isAtExitOf(machine, "SHUTDOWN");
}

/** Whether it stands where it should not: not where it waits, or where its fault catcher has said what was wrong. */
function mayHaveStrayed(machine: StoppedCpu): boolean {
  const { lastExit, log, number } = machine;
  if (log.latestOf(number)?.fault !== undefined) return false;
  return lastExit?.reason !== "HLT" || isOutsideImage(machine);
}

/** Whether it stands well, but not where its test expects it: an exception that was caught says enough itself. */
function isOfWay({ isAtExit, log, number }: StoppedCpu, why: PageReason): boolean {
  return why.isOfWay === true && isAtExit && log.latestOf(number)?.fault === undefined;
}

/** What a repeated run shows of a guest that has shut down, or that has strayed. */
function repeatedEnd(machine: StoppedCpu, why: PageReason): PostmortemResult | undefined {
  const { lastExit, isAtExit } = machine;
  if (!mayHaveStrayed(machine) && !isOfWay(machine, why)) return undefined;
  try {
    const isWorth = isAtExitOf(machine, "SHUTDOWN", "INTERNAL_ERROR", "FAIL_ENTRY") ||
      isOutsideImage(machine) || isOfWay(machine, why) ||
      lastExit !== undefined && isAtExit && isWorthARun(machine);
    return isWorth ? postmortemOf(machine) : undefined;
  } catch (error) {
    return { obstacle: error instanceof Error ? error.message.split("\n")[0] : String(error) };
  }
}

/** The chain of causes: of a guest that could not go on, or that stands where it should not. */
function chain(
  machine: StoppedCpu,
  end: PostmortemResult | undefined,
  why: PageReason,
): string[] {
  const found = end !== undefined && "cpu" in end ? end : undefined;
  if (isShutDown(machine) && found !== undefined) return whatHappened(found);
  const isTold = isReset(machine) || isAtExitOf(machine, "FAIL_ENTRY") ||
    !(mayHaveStrayed(machine) || isOfWay(machine, why));
  return isTold ? [] : whatIsOdd(machine, found);
}

function repeatLines({ log }: StoppedCpu, end: PostmortemResult | undefined): string[] {
  if (end === undefined) return [];
  if ("obstacle" in end) return [`  its run could not be repeated: ${end.obstacle}`];
  const { stepCount, isMore, doubt } = end;
  const last = log.total - 1;
  return [
    `  found by running it once more: it has completed ${
      isMore ? "more than " : ""
    }${stepCount} instruction${stepCount === 1 ? "" : "s"} ${
      last === 0 ? "in all" : `behind exit ${last}`
    }`,
    ...doubt === undefined ? [] : [`  not for certain: ${doubt}`],
  ];
}

let emulationIsTold = false;

/** That KVM is an emulated machine's: said once, by the first page. */
function kvmInUse(): string[] {
  const name = emulationIsTold ? undefined : emulatedMachineName();
  if (name === undefined) return [];
  emulationIsTold = true;
  return [`KVM is that of an emulated machine (${name}): right results, no real timing`];
}

function attempt(section: () => string[]): string[] {
  try {
    return section();
  } catch (error) {
    return [`(not readable: ${error instanceof Error ? error.message.split("\n")[0] : error})`];
  }
}

/** Why KVM, or the CPU, could not go on, with the registers of the CPU that is shown. */
function explanation({ lastExit, isAtExit }: StoppedCpu, shown: StoppedCpu): string[] {
  return lastExit === undefined || !isAtExit ? [] : explainExit(shown, lastExit);
}

/** @param end What a repeated run shows, where there was one. */
function place(machine: StoppedCpu, end?: PostmortemResult): string[] {
  if (isReset(machine)) {
    return [
      `${subject(machine)} at an unknown place: at the triple fault KVM has reset its registers`,
    ];
  }
  const here = codeLocation(machine);
  const code = new CodeView(machine, here);
  const address = exitingInstruction(machine, code);
  const { image } = machine;
  const next = address === here.linear ? "" : `, next ${hex(here.linear)}`;
  const linked = address - here.imageBase;
  const line = image.lineOf(linked);
  const calledWith = new CalledWith(machine, code, address);
  const values = calledWith.next(image, linked, address);
  const callers = attempt(() => backtrace(machine, code, address, calledWith));
  return [
    `${subject(machine)} at ${hex(address)}${next} in ${modeText(machine)}`,
    ...[
      ...placeNames(image, linked, { values }),
      ...image.debugNotes.map((note) => `(${note})`),
    ].map((row) => `  ${row.replace(CONTROL, escaped)}`),
    ...outsideImage(machine, code, address, end),
    ...line === undefined ? [] : sourceLines(image, line),
    ...instructions(machine, code, address, line !== undefined),
    ...lastByte(machine, linked, here.linear - here.imageBase),
    ...callers.map((row) => row.replace(CONTROL, escaped)),
  ];
}

/**
 * A triple fault says nothing of the first of the three: what could.
 *
 * @param shown The CPU whose registers are shown.
 */
function tripleFault(machine: StoppedCpu, shown: StoppedCpu): string[] {
  const { lastExit, isAtExit, catchesFaults } = machine;
  const own = ownIdt(shown);
  if (own !== undefined) return [`  faults are not caught: ${own}`];
  if (lastExit?.reason !== "SHUTDOWN" || !isAtExit) return [];
  if (catchesFaults) {
    return [
      "  the CPU could not enter the fault catcher: for want of a stack, or of the guest's IDT or GDT" +
      (isReset(shown) ? ", or because the guest has an IDT of its own (lidt)" : ""),
    ];
  }
  return shown === machine
    ? ["  boot it with `catchFaults: true` to be told the fault that came first"]
    : [];
}

/** A guest that lacks its HLT runs on into whatever lies behind it, which nothing else on the page shows. */
function lastByte({ image, lastExit }: StoppedCpu, address: bigint, next: bigint): string[] {
  const ends = image.segments.map((segment) => segment.address + BigInt(segment.size));
  if (lastExit?.reason === "HLT" || address === next || !ends.includes(next)) return [];
  return [
    "  the guest's bytes end here: what is executed next is not its code (is a hlt missing?)",
  ];
}

/** The source around a line as it stands in its file, with the line marked. */
function sourceLines(image: Image, here: SourceLine): string[] {
  const rows: { line: number; text: string }[] = [];
  for (let line = here.line - LINES_BEFORE; line <= here.line + LINES_AFTER; line++) {
    const text = image.sourceText(here.file, line) ?? (line === here.line ? here.text : undefined);
    if (text !== undefined) rows.push({ line, text: text.trimEnd() });
  }
  const isBlank = ({ text }: { text: string }) => text === "";
  const shown = rows.slice(
    rows.findIndex((row) => !isBlank(row)),
    rows.findLastIndex((row) => !isBlank(row)) + 1,
  );
  const indentation = commonIndentation(shown.map(({ text }) => text));
  const width = Math.max(...shown.map(({ line }) => String(line).length));
  return shown.map(({ line, text }) => {
    const mark = line === here.line ? "→" : " ";
    const written = text.slice(indentation).replace(CONTROL, escaped);
    return `  ${mark} ${String(line).padStart(width)} │ ${written}`.trimEnd();
  });
}

/** How much white space all lines that are not empty begin with. */
function commonIndentation(lines: readonly string[]): number {
  const [first = "", ...others] = lines.filter((line) => line !== "")
    .map((line) => /^\s*/.exec(line)![0]);
  let length = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, length))) length--;
  return length;
}

/** @param isKnown Whether the code has source lines: then what has none is not shown as code. */
function instructions(
  { image }: StoppedCpu,
  code: CodeView,
  address: bigint,
  isKnown: boolean,
): string[] {
  const bytes = code.bytes(address, BYTES_SHOWN);
  if (bytes.length === 0) return ["  no memory is mapped there"];
  const instructions = code.instructions(address, address, INSTRUCTIONS_SHOWN);
  if (instructions === undefined) return [`  → ${hex(address)}  ${hexBytes(bytes)}`];
  const { imageBase } = code.place;
  const rows = instructions.slice(0, INSTRUCTIONS_SHOWN)
    .filter((each) => !isKnown || image.lineOf(each.address - imageBase))
    .map(({ address, bytes, text }) => ({
      at: hex(address),
      bytes: hexBytes(bytes),
      text: `${text}  ${branchTarget(image, text, imageBase)}`.trimEnd(),
    }));
  const width = Math.max(...rows.map(({ bytes }) => bytes.length));
  return rows.map(({ at, bytes, text }, index) =>
    `  ${index === 0 ? "→" : " "} ${at}  ${bytes.padEnd(width)}  ${text.replace(CONTROL, escaped)}`
  );
}

function exits({ log, machine: { cpus, exitingCpu } }: StoppedCpu): string[] {
  const shown = exitRuns(log.records()).slice(-EXITS_SHOWN);
  const count = shown.reduce((sum, { length }) => sum + length, 0);
  const title = count === log.total ? "exits so far" : `the last ${count} of ${log.total} exits`;
  if (shown.length === 0) return [title, "    none"];
  return [
    title,
    ...exitRows(shown, exitingCpu.lastExit, cpus.length > 1).map((row) => `    ${row}`),
  ];
}

function serial(machine: StoppedCpu): string[] {
  if (!machine.hasSerial) return [];
  const { text, dropped } = machine.serial;
  if (text === "") return [];
  const shown = text.length > SERIAL_SHOWN ? `…${text.slice(-SERIAL_SHOWN)}` : text;
  const lines = shown.replaceAll("\r\n", "\n").replace(/\n$/, "").split("\n");
  return [
    text.length > SERIAL_SHOWN
      ? `the last ${SERIAL_SHOWN} of ${text.length} characters of serial output`
      : "serial output so far",
    ...lines.map((line) => `    ${line.replace(CONTROL, escaped)}`),
    ...dropped === 0 ? [] : [`    (and ${dropped} bytes more that were not kept)`],
  ];
}

function escaped(character: string): string {
  const code = character.codePointAt(0)!;
  if (character === "\t") return "\t";
  return code <= 0xff
    ? `\\x${code.toString(16).padStart(BYTE_DIGITS, "0")}`
    : `\\u{${code.toString(16)}}`;
}

/** The processor mode in words, for titles. */
function modeText({ registers, isAtExit, lastExit }: StoppedCpu): string {
  if (isAtExit && lastExit?.runFlags.smm) return "system-management mode";
  if (!registers.cr0.pe) return "real mode";
  if (registers.efer.lma) return registers.cs.l ? "64-bit mode" : "compatibility mode";
  if (registers.rflags.vm) return "virtual-8086 mode";
  return `${codeBits(registers)}-bit protected mode`;
}
