import { disassemble } from "../guest/disassemble.ts";
import type { CodeBits } from "../guest/image_parts.ts";
import type { SourceLine } from "../guest/source_line.ts";
import { EXIT_REASON } from "../kvm/abi/exit_reasons.ts";
import { kvm_regs } from "../kvm/abi/structs/regs.ts";
import { flagNames } from "../x86/flags.ts";
import { rflagsFlags } from "../x86/flag_tables.ts";
import type { ExitRecord } from "./exit_log.ts";
import type { Machine } from "./machine.ts";

const LINES_BEFORE = 3;
const LINES_AFTER = 2;
const EXITS_SHOWN = 8;
const SERIAL_SHOWN = 400;
const INSTRUCTIONS_SHOWN = 3;
const LONGEST_INSTRUCTION = 15;
const REGISTERS_PER_LINE = 4;
const BYTE_DIGITS = 2;

const REASON_NAMES = new Map<number, string>(
  Object.entries(EXIT_REASON).map(([name, number]) => [number, name]),
);

const SIZE_NAMES: Readonly<Record<number, string>> = {
  1: "byte",
  2: "word",
  4: "dword",
  8: "qword",
};

/**
 * Where a stopped guest is and how it came there, for failure pages: the source around its instruction pointer, the instructions there, the
 * registers that changed since boot, the last exits, and the serial line.
 *
 * It never throws: what cannot be read is left out, because a page about a failure must not hide it behind another.
 */
export function statePage(machine: Machine): string {
  return [place, registers, exits, serial]
    .flatMap((section) => attempt(() => section(machine)))
    .join("\n");
}

function attempt(section: () => string[]): string[] {
  try {
    return section();
  } catch (error) {
    return [`(not readable: ${error instanceof Error ? error.message.split("\n")[0] : error})`];
  }
}

function place(machine: Machine): string[] {
  const { rip, cs } = machine.registers;
  const address = Number(BigInt.asUintN(64, cs.base + rip));
  const { image } = machine;
  const symbol = image.symbolAt(address);
  const line = image.lineAt(address);
  const names = [
    ...symbol === undefined ? [] : [offsetText(symbol.name, symbol.offset)],
    ...line === undefined ? [] : [`${line.file}:${line.line}`],
  ];
  return [
    ["guest at", hex(address), ...names].join("  "),
    ...line === undefined ? [] : sourceLines(image.lines, line),
    ...instructions(machine, address),
  ];
}

/** The source around a line, with the line marked. */
function sourceLines(lines: readonly SourceLine[], here: SourceLine): string[] {
  const near = lines.filter(({ file, line }) =>
    file === here.file && line >= here.line - LINES_BEFORE && line <= here.line + LINES_AFTER
  );
  const byNumber = new Map(near.map((each) => [each.line, each]));
  const width = String(here.line + LINES_AFTER).length;
  return [...byNumber.values()]
    .sort((a, b) => a.line - b.line)
    .map(({ line, text }) =>
      `  ${line === here.line ? "→" : " "} ${String(line).padStart(width)} │ ${text}`
    );
}

function instructions(machine: Machine, address: number): string[] {
  const bits = codeBits(machine);
  let code: Uint8Array;
  try {
    code = machine.linear.read(address, LONGEST_INSTRUCTION * INSTRUCTIONS_SHOWN);
  } catch {
    // Near the end of memory, or outside of it: the bytes that there are, one by one.
    code = readableBytes(machine, address);
  }
  if (code.length === 0) return ["  no memory is mapped there"];
  const { instructions, unavailable } = disassemble(code, {
    bits,
    origin: address,
    count: INSTRUCTIONS_SHOWN,
  });
  if (unavailable !== undefined) return [`  ${hexBytes(code.subarray(0, LONGEST_INSTRUCTION))}`];
  return instructions.map(({ address, bytes, text }) =>
    `    ${hex(address)}  ${hexBytes(bytes).padEnd(24)}  ${text}`
  );
}

function readableBytes(machine: Machine, address: number): Uint8Array {
  const bytes: number[] = [];
  try {
    while (bytes.length < LONGEST_INSTRUCTION) {
      bytes.push(machine.linear.u8(address + bytes.length));
    }
  } catch {
    // The end of what is mapped.
  }
  return new Uint8Array(bytes);
}

function codeBits({ registers }: Machine): CodeBits {
  if (registers.efer.lma && registers.cs.l) return 64;
  return registers.cs.db ? 32 : 16;
}

/** The registers that are not what they were at boot; those that are, in one line of names. */
function registers({ registers, bootRegisters }: Machine): string[] {
  const changed: string[] = [];
  for (const { path } of kvm_regs.fields) {
    if (path === "rflags" || path === "rip") continue;
    const value = registers.get(path) as bigint;
    if (value !== bootRegisters[path as "rax"]) changed.push(`${path}=${hex(value)}`);
  }
  const flags = flagNames(rflagsFlags, registers.rflags.value).join(" ");
  const lines = ["registers that changed since boot"];
  for (let index = 0; index < changed.length; index += REGISTERS_PER_LINE) {
    lines.push(`    ${changed.slice(index, index + REGISTERS_PER_LINE).join("  ")}`);
  }
  if (changed.length === 0) lines.push("    none");
  lines.push(`    rflags=${hex(registers.rflags.value)}${flags === "" ? "" : ` (${flags})`}`);
  return lines;
}

function exits({ log }: Machine): string[] {
  const shown = log.records().slice(-EXITS_SHOWN);
  const title = shown.length === log.total
    ? "exits so far"
    : `the last ${shown.length} of ${log.total} exits`;
  if (shown.length === 0) return ["exits so far", "    none"];
  const rows = shown.map(exitRow);
  const width = Math.max(...rows.map(([text]) => text.length));
  return [title, ...rows.map(([text, by]) => `    ${text.padEnd(width)}  ${by}`.trimEnd())];
}

function exitRow(record: ExitRecord): [text: string, by: string] {
  const { number, reason, isWrite, address, size, count, value, answeredBy } = record;
  const name = REASON_NAMES.get(reason) ?? `reason ${reason}`;
  if (size === 0) return [`${number}  ${name}`, ""];
  const direction = reason === EXIT_REASON.IO ? isWrite ? "out" : "in" : isWrite ? "write" : "read";
  const width = SIZE_NAMES[size] ?? `${size} bytes`;
  const times = count > 1 ? ` × ${count}` : "";
  const data = value === undefined ? "" : ` ${hex(value)}${characterText(value)}`;
  return [
    `${number}  ${name} ${direction} ${hex(address)} ${width}${times}${data}`,
    answeredBy === undefined ? "nobody answered" : `answered by ${answeredBy}`,
  ];
}

function serial(machine: Machine): string[] {
  if (!machine.hasSerial) return [];
  const { text, dropped } = machine.serial;
  if (text === "") return [];
  const shown = text.length > SERIAL_SHOWN ? `…${text.slice(-SERIAL_SHOWN)}` : text;
  return [
    "serial",
    ...shown.trimEnd().split("\n").map((line) => `    ${line}`),
    ...dropped === 0 ? [] : [`    (and ${dropped} bytes more that were not kept)`],
  ];
}

function offsetText(name: string, offset: number): string {
  return offset === 0 ? name : `${name}+${hex(offset)}`;
}

function characterText(value: bigint): string {
  return value >= 0x20n && value <= 0x7en
    ? ` ${JSON.stringify(String.fromCharCode(Number(value)))}`
    : "";
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(BYTE_DIGITS, "0")).join(" ");
}
