import { EXIT_REASON, KVM_EXIT_IO } from "../../kvm/abi/mod.ts";
import type { BiosCall } from "../../devices/bios/call.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { goesOn } from "../../kvm/exits/exit_table.ts";
import type { CaughtFault } from "../../machine/faults/caught_fault.ts";
import { type Machine, type MachineCpu, runControlOf } from "../../machine/machine.ts";
import { exitText } from "../../machine/report/exit_text.ts";
import { isErrorOf, TimeLimitError } from "../../machine/run/run_errors.ts";
import {
  checkCallOptions,
  checkRunOptionsWithoutEnd,
  type ExitAnswer,
  type ExitFollower,
  type ExitsOptions,
  type ObservedExit,
  type RunOptions,
} from "../../machine/run/run_options.ts";
import { PORT } from "../../x86/layout.ts";
import type { NamesOf } from "../../x86/defined_entries.ts";
import type { MatcherResult } from "../failure_page.ts";
import { formatCount } from "../format.ts";
import { definitionOf, ExitPattern, type PlainAccess } from "../patterns/exit_pattern.ts";
import { TranscriptCursor, transcriptPage } from "../transcript_cursor.ts";

/** The options that transcripts have beside those of a step. */
const OF_TRANSCRIPTS: NamesOf<Pick<TranscriptOptions, "then" | "pending">> = {
  then: "value",
  pending: "flag",
};

/** Transcripts of several CPUs in one run, by their numbers. */
export type CpuTranscripts = { readonly [cpu: number]: readonly ExitPattern[] };

/**
 * Checks a transcript, or one for each of several CPUs.
 *
 * @param cpu The CPU that a single transcript is about.
 * @returns What runs the machine along it, and answers as it says, until its last pattern has come or an exit is not
 *   the one expected.
 * @throws {TypeError} When the transcript is none.
 * @throws {RangeError} When its last pattern may be left out, or there is no such CPU.
 */
export function matchTranscript(
  cpu: MachineCpu,
  patterns: readonly ExitPattern[] | CpuTranscripts,
  options: TranscriptOptions,
): () => MatcherResult {
  checkRunOptionsWithoutEnd(options, OF_TRANSCRIPTS);
  if (options.then !== undefined && options.then !== "silence") {
    throw new RangeError(
      `Cannot expect ${
        JSON.stringify(options.then)
      } behind a transcript: give "silence", or leave it out`,
    );
  }
  const { machine, log } = cpu;
  const isOne = !isCpuTranscripts(patterns);
  const transcripts: readonly (readonly [number, readonly ExitPattern[]])[] = isOne
    ? [[cpu.number, patterns]]
    : transcriptsOf(cpu, patterns);
  for (const [, each] of transcripts) checkPatterns(each, cpu);
  return () => {
    const cursors = new Map(
      transcripts.map(([number, each]) => [number, new TranscriptCursor(each)]),
    );
    const first = log.total + 1;
    const { number, at, cpu: failed = at, received } = followTranscripts(machine, cursors, options);
    // A CPU without a transcript can break the silence behind the others'.
    const waiting = cursors.get(at);
    const showsCpus = machine.cpus.length > 1;
    return {
      call: isOne
        ? callText(patterns)
        : `toExit({ ${
          transcripts.map(([each, { length }]) => `${each}: [${formatCount(length, "pattern")}]`)
            .join(", ")
        } })`,
      matches: received === undefined,
      isOfWay: true,
      cpu: failed,
      comparisons: () => [{
        what: `exit ${number}${showsCpus ? ` of CPU ${at}` : ""}`,
        expected: waiting?.isDone === false ? waiting.expected : "nothing more",
        received: received ?? "",
        matches: received === undefined,
      }],
      details: () =>
        [
          ...[...cursors].map(([each, cursor]) =>
            transcriptPage(cursor, first, isOne ? undefined : each)
          ),
          ...remedies(cpu.machine, cursors),
        ].join("\n"),
    };
  };
}

/**
 * Checks a call of a routine, and the transcript of it.
 *
 * @returns What calls it: its exits must be those of the transcript, and no others, until it returns.
 * @throws {TypeError} When the transcript is none, or the CPU cannot call.
 * @throws {RangeError} When there is no such label or register, or a value does not fit.
 */
export function matchCall(
  cpu: MachineCpu,
  call: NonNullable<ExitsOptions["call"]>,
  patterns: readonly ExitPattern[],
  options: Pick<RunOptions, "timeout" | "pending">,
): () => MatcherResult {
  checkCallOptions(options);
  checkElements(patterns, cpu);
  const { machine, log, number: own } = cpu;
  const cursor = new TranscriptCursor(patterns);
  const cursors = new Map([[own, cursor]]);
  const offering = offer(cursors, machine);
  const { before } = offering;
  const exits = machine.exits({ ...options, before, cpus: [own], call });
  return () => {
    const first = log.total + 1;
    const received = followCall(machine, exits, offering, cursor);
    return {
      call: `toCall(${JSON.stringify(call.routine)}, …, [${
        formatCount(patterns.length, "pattern")
      }])`,
      matches: received === undefined,
      isOfWay: true,
      comparisons: () => [{
        what: `exit ${received?.startsWith("nothing") ? log.total + 1 : log.total}`,
        expected: [cursor.expected, cursor.isDone ? "its return" : ""].filter(Boolean)
          .join(", or "),
        received: received ?? "",
        matches: received === undefined,
      }],
      details: () => [transcriptPage(cursor, first), ...remedies(machine, cursors)].join("\n"),
    };
  };
}

/** What came in place of the transcript and the return; undefined where those came. */
function followCall(
  machine: Machine,
  exits: Iterable<ObservedExit>,
  offering: Offering,
  cursor: TranscriptCursor,
): string | undefined {
  try {
    for (const { exit, fault, description } of exits) {
      if (!offering.isForeseen) return fault?.text ?? description ?? exitText(exit);
    }
  } catch (error) {
    if (!(error instanceof TimeLimitError) || !isErrorOf(machine, error)) throw error;
    return `nothing within ${error.milliseconds} ms: it still ran`;
  }
  return cursor.isDone ? undefined : "nothing: it has returned";
}

/** Why what is waited for cannot come, where that is known. */
function remedies(
  { cpus }: Machine,
  cursors: ReadonlyMap<number, TranscriptCursor>,
): string[] {
  return [...cursors].flatMap(([number, { isDone, progress, position }]) =>
    isDone ? [] : definitionOf(progress[position].pattern).remedy?.(cpus[number]) ?? []
  );
}

function callText({ length }: readonly unknown[]): string {
  return `toExit([${formatCount(length, "pattern")}])`;
}

function isCpuTranscripts(
  patterns: readonly ExitPattern[] | CpuTranscripts,
): patterns is CpuTranscripts {
  if (typeof patterns !== "object" || patterns === null || Array.isArray(patterns)) return false;
  const keys = Object.keys(patterns);
  return keys.length > 0 && keys.every((key) => String(Number(key)) === key && /^\d+$/.test(key));
}

function transcriptsOf(
  { machine: { cpus } }: MachineCpu,
  patterns: CpuTranscripts,
): [number, readonly ExitPattern[]][] {
  return Object.entries(patterns).map(([number, each]) => {
    if (Number(number) >= cpus.length) {
      throw new RangeError(
        `Cannot expect a transcript of CPU ${number}: the machine has CPUs 0 to ${cpus.length - 1}`,
      );
    }
    return [Number(number), each];
  });
}

function checkPatterns(patterns: readonly ExitPattern[], cpu: MachineCpu): void {
  checkElements(patterns, cpu);
  if (patterns.length === 0) {
    throw new TypeError("Cannot expect a transcript: it has no patterns. Write at least hlt().");
  }
  const last = patterns[patterns.length - 1];
  if (last.minimum > 0) return;
  throw new RangeError(
    `Cannot expect a transcript: its last pattern, ${last.text}, may be left out, so it would never be waited for. ` +
      "End with one that must come, such as hlt().",
  );
}

function checkElements(patterns: readonly ExitPattern[], cpu: MachineCpu): void {
  if ((patterns as unknown) instanceof ExitPattern) {
    throw new TypeError(
      "Cannot expect a transcript: it is a pattern, and a transcript is a list of them. Write toExit([…]) around it.",
    );
  }
  if (!Array.isArray(patterns)) {
    throw new TypeError(
      `Cannot expect ${String(patterns)} as a transcript: give a list of patterns`,
    );
  }
  // Not forEach, which passes over holes.
  Array.from(patterns).forEach((pattern, index) => {
    if (!(pattern instanceof ExitPattern)) {
      throw new TypeError(
        `Cannot expect a transcript: element ${index} is no pattern. Use portOut, portIn, mmioWrite, mmioRead, ` +
          "rdmsr, wrmsr, hlt, shutdown, exit, anyExit, fault or biosCall.",
      );
    }
  });
  for (const pattern of patterns) definitionOf(pattern).check?.(cpu);
}

const ANSWERED_BY = "transcript";

/** How long a guest must be silent for `then: "silence"`, in milliseconds before the scale of time limits. */
const SILENCE = 10;

/** How a transcript is followed. */
export interface TranscriptOptions extends RunOptions {
  /**
   * What must come behind the last pattern. Left out, nothing is said of it: the guest is stopped there. `"silence"`:
   * it is run on for 10 ms (times `VMEXIT_TIMEOUT_SCALE`), in which it may halt, but has no other exit, whoever would
   * answer it; a CPU that has halted is left alone.
   */
  readonly then?: "silence";
}

/** The exit at which transcripts came to their end, or did not. */
export interface TranscriptOutcome {
  /** Which exit it was. */
  readonly number: number;
  /** The CPU whose transcript it is about. */
  readonly at: number;
  /** The CPU whose exit it was, where that is another. */
  readonly cpu?: number;
  /** What came instead of what was expected; undefined once everything has come. */
  readonly received: string | undefined;
}

/**
 * Runs a machine, and offers each CPU's exits to its transcript, until all are done or one does not match. Exits of
 * CPUs without a transcript are the handlers'.
 */
export function followTranscripts(
  machine: Machine,
  cursors: ReadonlyMap<number, TranscriptCursor>,
  { then, ...options }: TranscriptOptions,
): TranscriptOutcome {
  const { log, cpus } = machine;
  const control = runControlOf(machine);
  const offering = offer(cursors, machine);
  const waiting = () => [...cursors].find(([, cursor]) => !cursor.isDone)?.[0];
  const nothing = (why: string) => ({
    number: log.total + 1,
    at: waiting()!,
    received: `nothing: ${why}`,
  });
  control.beginRun();
  // CPUs that have halted go on as long as their transcripts say how: the others have come to their end.
  let running: readonly number[] | undefined;
  try {
    for (;;) {
      const total = log.total;
      for (
        const observed of control.observe(
          { ...options, before: offering.before, cpus: running },
          offering,
        )
      ) {
        const { number, cpu, exit } = observed;
        if (offering.isForeseen) {
          if (areDone(cursors)) {
            const broken = then === "silence" ? noise(machine) : undefined;
            if (broken === undefined) control.checkEnd(options);
            return broken ?? { number, at: cpu, received: undefined };
          }
        } else if (!isExpectedElsewhere(observed, cursors, offering.call)) {
          const received = observed.fault?.text ?? observed.description ?? exitText(exit);
          if (cursors.has(cpu)) return { number, at: cpu, received };
          return { number, at: waiting()!, cpu, received: `${received} of CPU ${cpu}` };
        }
      }
      if (log.total === total) return nothing("all CPUs have halted");
      const end = log.latest!.fault === undefined ? endOf(machine.exitingCpu.lastExit!) : undefined;
      if (end !== undefined) return nothing(end);
      if (cpus.length > 1) {
        running = cpus.map(({ number }) => number)
          .filter((number) => cursors.get(number)?.isDone === false);
      }
    }
  } catch (error) {
    if (!(error instanceof TimeLimitError) || !isErrorOf(machine, error)) throw error;
    const received = `nothing within ${error.milliseconds} ms: the guest still ran`;
    return { number: log.total + 1, at: waiting()!, received };
  }
}

/** What offers each CPU's exits to its transcript, and whether the latest was foreseen there. */
interface Offering extends ExitFollower {
  isForeseen: boolean;
  /** The call of the BIOS's that the latest exit makes, if it makes one. */
  call: BiosCall | undefined;
  before(exit: Exit, fault: CaughtFault | undefined, cpu: number): ExitAnswer | undefined;
}

/** Offers an access of one element to a transcript, as `kvm_run` holds it. */
function takenAccess(
  cursor: TranscriptCursor,
  kvmRun: Parameters<ExitFollower["takes"]>[0],
  number: number,
): PlainAccess | undefined {
  if (kvmRun.exitReason === EXIT_REASON.MMIO) {
    const { mmioIsWrite, mmioAddress, mmioLength, mmioLow, mmioHigh } = kvmRun;
    return cursor.takes(true, mmioIsWrite, mmioAddress, mmioLength, mmioLow, mmioHigh, number);
  }
  if (kvmRun.exitReason !== EXIT_REASON.IO || kvmRun.ioCount !== 1) return undefined;
  const { ioSize, ioPort } = kvmRun;
  const isWrite = kvmRun.ioDirection === KVM_EXIT_IO.OUT;
  return cursor.takes(false, isWrite, ioPort, ioSize, kvmRun.ioElement(0, ioSize), 0, number);
}

/** Whether all transcripts have come to their ends. */
function areDone(cursors: ReadonlyMap<number, TranscriptCursor>): boolean {
  for (const cursor of cursors.values()) if (!cursor.isDone) return false;
  return true;
}

function offer(
  cursors: ReadonlyMap<number, TranscriptCursor>,
  machine: Machine,
): Offering {
  const { log, hasBios } = machine;
  const only = cursors.size === 1 ? cursors.get(0) : undefined;
  const offering: Offering = {
    by: ANSWERED_BY,
    isForeseen: false,
    call: undefined,
    isPassed: () => offering.isForeseen && !(only?.isDone ?? areDone(cursors)),
    takesWrite(port, size, value) {
      const isTaken = !hasBios &&
        only?.takes(false, true, port, size, value, 0, log.total + 1) !== undefined;
      if (isTaken) offering.isForeseen = true;
      return isTaken;
    },
    takes(kvmRun, cpu) {
      const cursor = cursors.get(cpu);
      if (cursor === undefined || hasBios) return undefined;
      const taken = takenAccess(cursor, kvmRun, log.total);
      if (taken !== undefined) offering.isForeseen = true;
      return taken;
    },
    before(exit, fault, cpu) {
      const isCall = exit.reason === "IO" && exit.port === PORT.bios && exit.direction === "out" &&
        hasBios;
      const call = offering.call = isCall ? machine.bios.waiting : undefined;
      const match = cursors.get(cpu)?.offer(exit, log.total, fault, call);
      offering.isForeseen = match?.matches ?? false;
      if (match?.matches && match.answerCall !== undefined) {
        machine.bios.answerWaiting(match.answerCall);
      }
      return match?.matches
        ? { by: ANSWERED_BY, bytes: match.answer, fields: match.fields }
        : undefined;
    },
  };
  return offering;
}

/** The first exit that breaks the silence behind a transcript; undefined where none does. */
function noise(machine: Machine): TranscriptOutcome | undefined {
  const awake = machine.cpus.filter(({ isAtExit, lastExit }) =>
    !isAtExit || lastExit?.reason !== "HLT"
  );
  if (awake.length === 0) return undefined;
  try {
    const cpus = awake.map(({ number }) => number);
    for (
      const { number, cpu, exit, fault } of runControlOf(machine).observe({
        timeout: SILENCE,
        cpus,
      })
    ) {
      if (fault !== undefined || exit.reason !== "HLT") {
        return { number, at: cpu, received: fault?.text ?? exitText(exit) };
      }
    }
  } catch (error) {
    if (!(error instanceof TimeLimitError) || !isErrorOf(machine, error)) throw error;
  }
  return undefined;
}

/**
 * Whether an exit that no pattern took may come all the same. A device may have its own exits between those of the
 * transcript, but none at a place that the transcript names; a CPU may halt when its transcript is done, or has none.
 */
function isExpectedElsewhere(
  { cpu, exit, answeredBy }: ObservedExit,
  cursors: ReadonlyMap<number, TranscriptCursor>,
  call: BiosCall | undefined,
): boolean {
  const cursor = cursors.get(cpu);
  if (exit.reason === "HLT" && (cursor === undefined || cursor.isDone)) return true;
  return answeredBy !== undefined && !cursor?.names(exit, call);
}

/** Why a guest cannot be run on from an exit that ended its run; undefined where it can, as after HLT. */
function endOf(exit: Exit): string | undefined {
  if (exit.reason === "SHUTDOWN") return "the guest had shut down";
  if (exit.reason === "SYSTEM_EVENT") return "the power was off";
  // The run goes on from an access by itself, unless it was told to stop.
  return goesOn(exit) ? "a device had ended the run" : undefined;
}
