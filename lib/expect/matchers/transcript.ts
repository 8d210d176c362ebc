import { checkRunOptions } from "../../machine/run/run_options.ts";
import type { Machine, MachineCpu } from "../../machine/machine.ts";
import { formatCount } from "../format.ts";
import { ExitPattern } from "../patterns/exit_pattern.ts";
import { TranscriptCursor } from "../transcript_cursor.ts";
import { transcriptPage } from "../transcript_page.ts";
import { followTranscripts, type TranscriptOptions } from "../follow_transcripts.ts";
import type { Verdict } from "../verdict.ts";
import { checkCatcher } from "./fault.ts";

/** Transcripts of several CPUs in one run, by their numbers. */
export type CpuTranscripts = { readonly [cpu: number]: readonly ExitPattern[] };

/**
 * Runs the machine along a transcript, or one for each of several CPUs, and answers as it says, until its last pattern
 * has come or an exit is not the one expected.
 *
 * @param cpu The CPU that a single transcript is about.
 * @throws {TypeError} When the transcript is none.
 * @throws {RangeError} When its last pattern may be left out, or there is no such CPU.
 */
export function matchTranscript(
  cpu: MachineCpu,
  patterns: readonly ExitPattern[] | CpuTranscripts,
  options: TranscriptOptions,
): Verdict {
  checkRunOptions(options, ["then"]);
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
  const cursors = new Map(
    transcripts.map(([number, each]) => [number, new TranscriptCursor(each)]),
  );
  const first = log.total + 1;
  const { number, at, received } = followTranscripts(machine, cursors, options);
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
}

/** Why what is waited for cannot come, where that is known. */
function remedies(
  { cpus }: Machine,
  cursors: ReadonlyMap<number, TranscriptCursor>,
): string[] {
  return [...cursors].flatMap(([number, { isDone, progress, position }]) =>
    isDone ? [] : progress[position].pattern.definition.remedy?.(cpus[number]) ?? []
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
  return keys.length > 0 && keys.every((key) => /^\d+$/.test(key));
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
  if ((patterns as unknown) instanceof ExitPattern) {
    throw new TypeError(
      "Cannot expect a transcript: it is a pattern, and a transcript is a list of them. Write toExit([…]) around it.",
    );
  }
  if (!Array.isArray(patterns) || patterns.length === 0) {
    throw new TypeError("Cannot expect a transcript: it has no patterns. Write at least hlt().");
  }
  patterns.forEach((pattern, index) => {
    if (!(pattern instanceof ExitPattern)) {
      throw new TypeError(
        `Cannot expect a transcript: element ${index} is no pattern. Use portOut, portIn, mmioWrite, mmioRead, hlt, shutdown, exit, anyExit or fault.`,
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
  if (patterns.some(({ definition }) => definition.isFault)) checkCatcher(cpu);
}
