import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { describeExit } from "../../kvm/exits/describe_exit.ts";
import type { Exit, IoExit, MmioExit } from "../../kvm/exits/exit.ts";
import { hex } from "../../x86/hex.ts";
import { msrName, msrText } from "../../x86/msrs/msr_number.ts";
import type { ExitRecord } from "../exits/exit_log.ts";
import { littleEndianBytes } from "../exits/answer_bytes.ts";

const REASON_NAMES = new Map<number, string>(
  Object.entries(EXIT_REASON).map(([name, number]) => [number, name]),
);

const RUN_FLAGS = { smm: false, busLock: false, guestMode: false };

/**
 * Exits of the log as rows of a table: number, exit in the words of {@linkcode describeExit}, who answered.
 *
 * @param latest The latest exit in full, for what the log does not keep of it.
 * @param showsCpus Whether each row says which CPU's exit it was.
 */
export function exitRows(
  records: readonly ExitRecord[],
  latest: Exit | undefined,
  showsCpus = false,
): string[] {
  const rows = records.map((record, index) => ({
    number: String(record.number),
    cpu: showsCpus ? `  CPU ${record.cpu}` : "",
    text: recordText(record, index === records.length - 1 ? latest : undefined),
    by: answerText(record),
  }));
  const digits = Math.max(0, ...rows.map(({ number }) => number.length));
  const width = Math.max(0, ...rows.filter(({ by }) => by !== "").map(({ text }) => text.length));
  const cpuWidth = Math.max(0, ...rows.map(({ cpu }) => cpu.length));
  return rows.map(({ number, cpu, text, by }) =>
    `${number.padStart(digits)}${cpu.padEnd(cpuWidth)}  ${text.padEnd(width)}  ${by}`.trimEnd()
  );
}

function recordText(record: ExitRecord, latest: Exit | undefined): string {
  const { reason, value, isWrite, count, fault } = record;
  if (fault !== undefined) return fault;
  if (reason === EXIT_REASON.X86_RDMSR || reason === EXIT_REASON.X86_WRMSR) {
    return msrRecordText(record);
  }
  const exit = exitOf(record);
  if (exit === undefined) {
    if (latest?.number === reason) return exitText(latest);
    return REASON_NAMES.get(reason) ?? `exit reason ${reason}`;
  }
  // Of a string instruction the log keeps the first element.
  const rest = count > 1 && value !== undefined ? " …" : "";
  const answer = isWrite || value === undefined ? "" : ` → ${valueText(value)}`;
  return describeExit(exit) + answer + rest;
}

function msrRecordText({ isWrite, address, value, faulted }: ExitRecord): string {
  const written = isWrite && value !== undefined ? ` ${hex(value)}` : "";
  const read = isWrite || value === undefined ? "" : ` → ${hex(value)}`;
  return `X86_${isWrite ? "WR" : "RD"}MSR ${msrText(address)}${written}${
    faulted ? " → #GP" : read
  }`;
}

/** A value as {@linkcode describeExit} has it: in hex, and a printable character with it. */
function valueText(value: bigint): string {
  const isCharacter = value >= 0x20n && value <= 0x7en;
  return hex(value) + (isCharacter ? ` ${JSON.stringify(String.fromCharCode(Number(value)))}` : "");
}

/** The exit that a record is about, as far as the log keeps it; undefined where it is neither IO nor MMIO. */
function exitOf(record: ExitRecord): IoExit | MmioExit | undefined {
  const { reason, isWrite, address, size, count, value = 0n } = record;
  const base = { number: reason, runFlags: RUN_FLAGS };
  const data = littleEndianBytes(value, size);
  if (reason === EXIT_REASON.IO) {
    const direction = isWrite ? "out" : "in";
    return { ...base, reason: "IO", direction, port: address, size, count, data };
  }
  if (reason !== EXIT_REASON.MMIO) return undefined;
  return { ...base, reason: "MMIO", gpa: address, len: size, isWrite, data };
}

function answerText({ size, answeredBy, fault }: ExitRecord): string {
  if (fault !== undefined) return "";
  if (answeredBy !== undefined) return `answered by ${answeredBy}`;
  return size === 0 ? "" : "nobody answered";
}

/** An exit in one line, as {@linkcode describeExit} has it, and MSRs by their names. */
export function exitText(exit: Exit): string {
  return describeExit(exit, { msrName });
}
