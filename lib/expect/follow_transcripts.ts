import type { Exit } from "../kvm/exits/exit.ts";
import { goesOn } from "../kvm/exits/exit_table.ts";
import type { CaughtFault } from "../machine/faults/caught_fault.ts";
import { exitText } from "../machine/report/exit_text.ts";
import type { Machine } from "../machine/machine.ts";
import type { ExitAnswer, ObservedExit, RunOptions } from "../machine/run/run_options.ts";
import { TimeLimitError } from "../machine/run/run_errors.ts";
import type { TranscriptCursor } from "./transcript_cursor.ts";

const ANSWERED_BY = "transcript";

/** How long a guest must be silent for `then: "silence"`, in milliseconds before the scale of time limits. */
const SILENCE = 10;

/** How a transcript is followed. */
export interface TranscriptOptions extends RunOptions {
  /**
   * What must come behind the last pattern. Left out, nothing is said of it: the guest is stopped there. `"silence"`: it
   * is run on for 10 ms (times `VMEXIT_TIMEOUT_SCALE`), in which it may halt, but has no other exit, whoever would
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
  let isForeseen = false;
  const before = (
    exit: Exit,
    fault: CaughtFault | undefined,
    cpu: number,
  ): ExitAnswer | undefined => {
    const verdict = cursors.get(cpu)?.offer(exit, log.total, fault);
    isForeseen = verdict?.matches ?? false;
    return verdict?.matches
      ? { by: ANSWERED_BY, bytes: verdict.answer, fields: verdict.fields }
      : undefined;
  };
  const waiting = () => [...cursors].find(([, { isDone }]) => !isDone)?.[0];
  const nothing = (why: string) => ({
    number: log.total + 1,
    at: waiting()!,
    received: `nothing: ${why}`,
  });
  // CPUs that have halted go on as long as their transcripts say how: the others have come to their end.
  let running: readonly number[] | undefined;
  try {
    for (;;) {
      const total = log.total;
      for (const observed of machine.exits({ ...options, before, cpus: running })) {
        const { number, cpu, exit } = observed;
        if (isForeseen) {
          if (waiting() === undefined) {
            return (then === "silence" ? noise(machine) : undefined) ??
              { number, at: cpu, received: undefined };
          }
        } else if (!isExpectedElsewhere(observed, cursors)) {
          const received = observed.fault?.text ?? exitText(exit);
          if (cursors.has(cpu)) return { number, at: cpu, received };
          return { number, at: waiting()!, received: `${received} of CPU ${cpu}` };
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
    if (!(error instanceof TimeLimitError)) throw error;
    const received = `nothing within ${error.milliseconds} ms: the guest still ran`;
    return { number: log.total + 1, at: waiting()!, received };
  }
}

/** The first exit that breaks the silence behind a transcript; undefined where none does. */
function noise(machine: Machine): TranscriptOutcome | undefined {
  const awake = machine.cpus.filter(({ isAtExit, lastExit }) =>
    !isAtExit || lastExit?.reason !== "HLT"
  );
  if (awake.length === 0) return undefined;
  try {
    const cpus = awake.map(({ number }) => number);
    for (const { number, cpu, exit, fault } of machine.exits({ timeout: SILENCE, cpus })) {
      if (fault !== undefined || exit.reason !== "HLT") {
        return { number, at: cpu, received: fault?.text ?? exitText(exit) };
      }
    }
  } catch (error) {
    if (!(error instanceof TimeLimitError)) throw error;
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
): boolean {
  const cursor = cursors.get(cpu);
  if (exit.reason === "HLT" && (cursor === undefined || cursor.isDone)) return true;
  return answeredBy !== undefined && !cursor?.names(exit);
}

/** Why a guest cannot be run on from an exit that ended its run; undefined where it can, as after HLT. */
function endOf(exit: Exit): string | undefined {
  if (exit.reason === "SHUTDOWN") return "the guest had shut down";
  // The run goes on from an access by itself, unless it was told to stop.
  return goesOn(exit) ? "a device had ended the run" : undefined;
}
