import { formatCount } from "./format.ts";
import type { PatternProgress, TranscriptCursor } from "./transcript_cursor.ts";

/** How many patterns are shown before and after the one that waits. */
const SHOWN_BEFORE = 8;
const SHOWN_AFTER = 4;

/** The longest pattern after which the column of its exits is still aligned with the others'. */
const ALIGNED_WIDTH = 56;

/**
 * A transcript with its marks, for failure pages: `✓` what has come, `→` what is waited for, and which exits
 * each pattern took.
 *
 * @param first The number of the machine's first exit that the transcript was about.
 * @param cpu The CPU whose transcript it is, where others have theirs.
 */
export function transcriptPage(cursor: TranscriptCursor, first: number, cpu?: number): string {
  const { progress, position } = cursor;
  const start = Math.max(0, position - SHOWN_BEFORE);
  const end = Math.min(progress.length, position + SHOWN_AFTER + 1);
  const rows = progress.slice(start, end).map((each, index) => ({
    line: `  ${mark(each, start + index, position)} ${each.pattern.text}`,
    taken: takenText(each),
  }));
  const width = Math.min(ALIGNED_WIDTH, Math.max(...rows.map(({ line }) => line.length)));
  return [
    `transcript${cpu === undefined ? "" : ` of CPU ${cpu}`}, from exit ${first} on`,
    ...start === 0 ? [] : [`    … ${formatCount(start, "pattern")} before`],
    ...rows.map(({ line, taken }) => `${line.padEnd(width)}  ${taken}`.trimEnd()),
    ...end === progress.length
      ? []
      : [`    … ${formatCount(progress.length - end, "pattern")} more`],
  ].join("\n");
}

function mark({ count }: PatternProgress, index: number, position: number): string {
  if (index === position) return "→";
  return index < position ? count > 0 ? "✓" : "–" : " ";
}

function takenText({ exits, count, pattern }: PatternProgress): string {
  if (exits === undefined) return "";
  const [first, last] = exits;
  const place = first === last ? `exit ${first}` : `exits ${first} to ${last}`;
  return pattern.maximum === 1 ? place : `${place}, ${formatCount(count, "time")}`;
}
