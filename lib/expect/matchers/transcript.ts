import { describeExit } from "../../kvm/describe_exit.ts";
import type { Exit } from "../../kvm/exit.ts";
import type { ExitAnswer, Machine } from "../../machine/machine.ts";
import { TimeLimitError } from "../../machine/time_limit_error.ts";
import { ExitPattern } from "../patterns/exit_pattern.ts";
import { TranscriptCursor } from "../transcript_cursor.ts";
import type { Verdict } from "../verdict.ts";

const ANSWERED_BY = "transcript";

/** Runs the machine along a transcript, and answers as it says, until its last pattern has come or an exit is not the one expected. */
export function matchTranscript(machine: Machine, patterns: readonly ExitPattern[]): Verdict {
  checkPatterns(patterns);
  const cursor = new TranscriptCursor(patterns);
  const first = machine.log.total + 1;
  let received: string | undefined;
  try {
    if (!cursor.isDone) received = follow(machine, cursor);
  } catch (error) {
    if (!(error instanceof TimeLimitError)) throw error;
    received = `nothing: the time limit of ${error.milliseconds} ms was over`;
  }
  const number = machine.log.total;
  return {
    call: `toExit([${patterns.length} pattern${patterns.length === 1 ? "" : "s"}])`,
    matches: received === undefined,
    comparisons: () => [{
      what: `exit ${number}`,
      expected: cursor.expected,
      received: received ?? "",
      matches: received === undefined,
    }],
    details: () => progressText(cursor, first),
  };
}

/** @returns The exit that does not match, as text, or undefined once the transcript is done. */
function follow(machine: Machine, cursor: TranscriptCursor): string | undefined {
  let matched = false;
  const before = (exit: Exit): ExitAnswer | undefined => {
    const verdict = cursor.offer(exit, machine.log.total);
    matched = verdict.matches;
    return verdict.matches ? { by: ANSWERED_BY, bytes: verdict.answer } : undefined;
  };
  for (const { exit, answeredBy } of machine.exits({ before })) {
    if (matched) {
      if (cursor.isDone) return undefined;
      continue;
    }
    // A device may have its own exits between those of the transcript, but none at a place that the transcript names.
    if (answeredBy === undefined || cursor.names(exit)) return describeExit(exit);
  }
  return "nothing: the guest had ended";
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
}

function progressText(cursor: TranscriptCursor, first: number): string {
  const rows = cursor.progress.map(({ pattern, count, exits }, index) => {
    const isHere = index === cursor.position;
    const isDone = count >= pattern.minimum && !isHere;
    const mark = isHere ? "→" : isDone ? "✓" : " ";
    const taken = exits === undefined
      ? ""
      : exits[0] === exits[1]
      ? `exit ${exits[0]}`
      : `exits ${exits[0]} to ${exits[1]}`;
    return { line: `  ${mark} ${pattern.text}`, taken };
  });
  const width = Math.max(...rows.map(({ line }) => line.length));
  return [
    `transcript, from exit ${first} on`,
    ...rows.map(({ line, taken }) => `${line.padEnd(width)}  ${taken}`.trimEnd()),
  ].join("\n");
}
