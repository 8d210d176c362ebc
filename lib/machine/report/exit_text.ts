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

/** How many writes of one kind in a row are shown as one. */
const SHORTEST_RUN = 3;

/**
 * Exits of the log, by the rows that show them: of a guest that prints, its writes to one device's port in a row are
 * one, so that what else it did is not pushed off the page.
 */
export function exitRuns(records: readonly ExitRecord[]): (readonly ExitRecord[])[] {
  const runs: ExitRecord[][] = [];
  for (const record of records) {
    const run = runs.at(-1);
    if (run !== undefined && isSameWrite(run[0], record)) run.push(record);
    else runs.push([record]);
  }
  return runs.flatMap((run) => run.length < SHORTEST_RUN ? run.map((each) => [each]) : [run]);
}

function isSameWrite(one: ExitRecord, other: ExitRecord): boolean {
  const kind = ({ description }: ExitRecord) => description?.split(":")[0];
  const isWrite = ({ reason, isWrite, count, answeredBy, fault }: ExitRecord) =>
    reason === EXIT_REASON.IO && isWrite && count === 1 && answeredBy !== undefined &&
    fault === undefined;
  return isWrite(one) && isWrite(other) && one.address === other.address &&
    one.size === other.size && one.cpu === other.cpu && one.answeredBy === other.answeredBy &&
    kind(one) === kind(other);
}

/**
 * Exits of the log as rows of a table: number, exit in the words of {@linkcode describeExit}, who answered.
 *
 * @param runs What each row shows: {@linkcode exitRuns}.
 * @param latest The latest exit in full, for what the log does not keep of it.
 * @param showsCpus Whether each row says which CPU's exit it was.
 */
export function exitRows(
  runs: readonly (readonly ExitRecord[])[],
  latest: Exit | undefined,
  showsCpus = false,
): string[] {
  const rows = runs.map((run, index) => {
    const [record] = run;
    const last = run[run.length - 1];
    return {
      number: run.length === 1 ? `${record.number}` : `${record.number}–${last.number}`,
      cpu: showsCpus ? `  CPU ${record.cpu}` : "",
      text: run.length === 1
        ? recordText(record, index === runs.length - 1 ? latest : undefined)
        : runText(run),
      by: answerText(record),
    };
  });
  const digits = Math.max(0, ...rows.map(({ number }) => number.length));
  const width = Math.max(0, ...rows.filter(({ by }) => by !== "").map(({ text }) => text.length));
  const cpuWidth = Math.max(0, ...rows.map(({ cpu }) => cpu.length));
  return rows.map(({ number, cpu, text, by }) =>
    `${number.padStart(digits)}${cpu.padEnd(cpuWidth)}  ${text.padEnd(width)}  ${by}`.trimEnd()
  );
}

/**
 * An exit of the log in a line.
 *
 * @param latest It in full, where it is the latest, for what the log does not keep of it.
 */
export function recordText(record: ExitRecord, latest?: Exit): string {
  const { reason, value, isWrite, count, fault, description } = record;
  if (fault !== undefined) return fault;
  if (description !== undefined) return description;
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

/** Writes in a row: of calls what they call. */
function runText(run: readonly ExitRecord[]): string {
  const called = run[0].description?.split(":")[0];
  return called === undefined
    ? describeExit(writtenBy(run))
    : `${called} ${run.length} times, the last${run.at(-1)!.description!.slice(called.length)}`;
}

/** Writes in a row as the exit that a string instruction would have made of them. */
function writtenBy(run: readonly ExitRecord[]): IoExit {
  const [{ reason, address, size }] = run;
  return {
    reason: "IO",
    number: reason,
    runFlags: RUN_FLAGS,
    direction: "out",
    port: address,
    size,
    count: run.length,
    data: Uint8Array.from(run.flatMap(({ value = 0n }) => [...littleEndianBytes(value, size)])),
  };
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
