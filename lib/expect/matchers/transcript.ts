import { describeExit } from "../../kvm/describe_exit.ts";
import type { Exit } from "../../kvm/exit.ts";
import type { Machine } from "../../machine/machine.ts";
import type { ExitAnswer, RunOptions } from "../../machine/machine_types.ts";
import { isResumable } from "../../machine/resumable_exits.ts";
import { TimeLimitError } from "../../machine/time_limit_error.ts";
import { formatCount } from "../format.ts";
import { ExitPattern } from "../patterns/exit_pattern.ts";
import { TranscriptCursor } from "../transcript_cursor.ts";
import { transcriptPage } from "../transcript_page.ts";
import type { Verdict } from "../verdict.ts";

const ANSWERED_BY = "transcript";

/** The exit at which a transcript came to its end, or did not. */
interface Outcome {
  /** Which exit it was. */
  readonly number: number;
  /** What came instead of what was expected; undefined once everything has come. */
  readonly received: string | undefined;
}

/**
 * Runs the machine along a transcript, and answers as it says, until its last pattern has come or an exit is
 * not the one expected.
 *
 * @throws {TypeError} When the transcript is none.
 * @throws {RangeError} When its last pattern may be left out.
 */
export function matchTranscript(
  machine: Machine,
  patterns: readonly ExitPattern[],
  options: RunOptions,
): Verdict {
  checkPatterns(patterns);
  const cursor = new TranscriptCursor(patterns);
  const first = machine.log.total + 1;
  const { number, received } = follow(machine, cursor, options);
  return {
    call: `toExit([${formatCount(patterns.length, "pattern")}])`,
    matches: received === undefined,
    comparisons: () => [{
      what: `exit ${number}`,
      expected: cursor.expected,
      received: received ?? "",
      matches: received === undefined,
    }],
    details: () => transcriptPage(cursor, first),
  };
}

function follow(machine: Machine, cursor: TranscriptCursor, options: RunOptions): Outcome {
  const { log } = machine;
  let isForeseen = false;
  const before = (exit: Exit): ExitAnswer | undefined => {
    const verdict = cursor.offer(exit, log.total);
    isForeseen = verdict.matches;
    return verdict.matches
      ? { by: ANSWERED_BY, bytes: verdict.answer, fields: verdict.fields }
      : undefined;
  };
  try {
    for (;;) {
      for (const { number, exit, answeredBy } of machine.exits({ ...options, before })) {
        if (isForeseen) {
          if (cursor.isDone) return { number, received: undefined };
          continue;
        }
        // A device may have its own exits between those of the transcript, but none at a place that the
        // transcript names.
        if (answeredBy === undefined || cursor.names(exit)) {
          return { number, received: describeExit(exit) };
        }
      }
      const end = endOf(machine.lastExit!);
      if (end !== undefined) return { number: log.total + 1, received: `nothing: ${end}` };
    }
  } catch (error) {
    if (!(error instanceof TimeLimitError)) throw error;
    const received = `nothing within ${error.milliseconds} ms: the guest still ran`;
    return { number: log.total + 1, received };
  }
}

/** Why a guest cannot be run on from an exit that ended its run; undefined where it can, as after HLT. */
function endOf(exit: Exit): string | undefined {
  if (exit.reason === "SHUTDOWN") return "the guest had shut down";
  // The run goes on from an access by itself, unless it was told to stop.
  return isResumable(exit) ? "a device had ended the run" : undefined;
}

function checkPatterns(patterns: readonly ExitPattern[]): void {
  if (!Array.isArray(patterns) || patterns.length === 0) {
    throw new TypeError("Cannot expect a transcript: it has no patterns. Write at least hlt().");
  }
  patterns.forEach((pattern, index) => {
    if (!(pattern instanceof ExitPattern)) {
      throw new TypeError(
        `Cannot expect a transcript: element ${index} is no pattern. Use portOut, portIn, mmioWrite, mmioRead, hlt, shutdown, exit or anyExit.`,
      );
    }
  });
  const last: ExitPattern = patterns[patterns.length - 1];
  if (last.minimum === 0) {
    throw new RangeError(
      `Cannot expect a transcript: its last pattern, ${last.text}, may be left out, so it would never be waited for. ` +
        "End with one that must come, such as hlt().",
    );
  }
}
