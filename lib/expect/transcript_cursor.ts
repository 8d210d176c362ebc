import type { Exit } from "../kvm/exits/exit.ts";
import type { BiosCall } from "../devices/bios/call.ts";
import type { CaughtFault } from "../machine/faults/caught_fault.ts";
import { formatCount } from "./format.ts";
import {
  definitionOf,
  type ExitPattern,
  MISMATCH,
  type Occurrence,
  type PatternMatch,
  type PlainAccess,
} from "./patterns/exit_pattern.ts";

/** How far one pattern of a transcript has been matched. */
export interface PatternProgress {
  /** The pattern. */
  readonly pattern: ExitPattern;
  /** How often it has come. */
  readonly count: number;
  /** The numbers of the first and the last exit that it took, where it took any. */
  readonly exits: readonly [first: number, last: number] | undefined;
}

interface Offered {
  readonly exit: Exit;
  readonly number: number;
  readonly fault: CaughtFault | undefined;
  readonly call: BiosCall | undefined;
}

class Progress implements PatternProgress {
  readonly pattern: ExitPattern;
  readonly access: PlainAccess | undefined;
  count = 0;
  #first = 0;
  #last = 0;

  constructor(pattern: ExitPattern) {
    this.pattern = pattern;
    this.access = definitionOf(pattern).access;
  }

  get exits(): readonly [first: number, last: number] | undefined {
    return this.#first === 0 ? undefined : [this.#first, this.#last];
  }

  take(number: number): void {
    if (this.#first === 0) this.#first = number;
    this.#last = number;
  }
}

/**
 * Matches exits against the patterns of a transcript, in order.
 *
 * - A pattern that repeats is greedy: it takes every exit that it matches, up to its maximum. There is no
 *   going back.
 * - An exit that it does not match is offered to the patterns after it, as long as those before have come as
 *   often as they must.
 * - A text or bytes may arrive over several exits. What has begun must be finished: until it is, no other
 *   pattern is asked.
 * - One exit is never shared by two patterns: an exit of five bytes needs a pattern of at least five, or five times.
 */
export class TranscriptCursor {
  readonly #progress: readonly Progress[];
  #position = 0;
  #occurrence: Occurrence | undefined;

  /** A cursor at the first pattern. */
  constructor(patterns: readonly ExitPattern[]) {
    this.#progress = patterns.map((pattern) => new Progress(pattern));
  }

  /** Whether every pattern has come as often as it must. */
  get isDone(): boolean {
    if (this.#occurrence !== undefined) return false;
    // Those before it have come, or it were not its turn.
    for (let index = this.#position; index < this.#progress.length; index++) {
      const { count, pattern } = this.#progress[index];
      if (count < pattern.minimum) return false;
    }
    return true;
  }

  /** The patterns with what they have taken so far. */
  get progress(): readonly PatternProgress[] {
    return this.#progress;
  }

  /** The position of the pattern that waits for the next exit. */
  get position(): number {
    return this.#position;
  }

  /** What may come next, as text. */
  get expected(): string {
    if (this.#occurrence !== undefined) return this.#occurrence.text;
    return this.#candidates().map((index) => this.#progress[index].pattern.text).join(", or ");
  }

  /** Whether any pattern is about the port, address or vector of this exit, so that no device may take it away. */
  names(exit: Exit, call?: BiosCall): boolean {
    return this.#progress.some(({ pattern }) => definitionOf(pattern).names(exit, call));
  }

  /**
   * Takes the next exit, the machine's `number`th, before it is decoded: where it is the access that the pattern waits for
   * whose turn it is. Nothing is allocated.
   *
   * @param low The low 32 bits of what is written, `high` the rest of it.
   * @returns The pattern's access, with its answer; undefined where the exit has to be offered.
   */
  takes(
    isMmio: boolean,
    isWrite: boolean,
    place: number,
    size: number,
    low: number,
    high: number,
    number: number,
  ): PlainAccess | undefined {
    if (this.#occurrence !== undefined || this.#position === this.#progress.length) {
      return undefined;
    }
    const progress = this.#progress[this.#position];
    const { access } = progress;
    if (access === undefined || access.isMmio !== isMmio || access.isWrite !== isWrite) {
      return undefined;
    }
    if (access.place !== undefined && access.place !== place) return undefined;
    if (access.size !== undefined && access.size !== size) return undefined;
    if (access.value !== undefined && (access.value !== low || high !== 0)) return undefined;
    progress.take(number);
    if (++progress.count === progress.pattern.maximum) this.#position++;
    return access;
  }

  /**
   * Takes the next exit, the machine's `number`th. A mismatch leaves the cursor where it was.
   *
   * @param fault The fault, where the exit is one by which the guest's fault catcher reports one.
   * @param call The call, where the exit is one by which the guest calls its BIOS.
   */
  offer(exit: Exit, number: number, fault?: CaughtFault, call?: BiosCall): PatternMatch {
    const offered = { exit, number, fault, call };
    if (this.#occurrence !== undefined) {
      return this.#take(this.#position, this.#occurrence, offered);
    }
    for (const index of this.#candidates()) {
      const occurrence = definitionOf(this.#progress[index].pattern).begin();
      const match = this.#take(index, occurrence, offered);
      if (match.matches) return match;
    }
    return MISMATCH;
  }

  #take(
    index: number,
    occurrence: Occurrence,
    { exit, number, fault, call }: Offered,
  ): PatternMatch {
    const match = fault === undefined
      ? call !== undefined && occurrence.offerCall !== undefined
        ? occurrence.offerCall(call)
        : occurrence.offer(exit)
      : occurrence.offerFault?.(fault) ?? MISMATCH;
    if (!match.matches) return match;
    const progress = this.#progress[index];
    const count = progress.count + (match.complete ? match.count ?? 1 : 0);
    if (count > progress.pattern.maximum) return MISMATCH;
    progress.take(number);
    progress.count = count;
    this.#position = match.complete && progress.count === progress.pattern.maximum
      ? index + 1
      : index;
    this.#occurrence = match.complete ? undefined : occurrence;
    return match;
  }

  /**
   * The patterns that the next exit may be: the current one, and those after it as long as they may be left
   * out.
   */
  #candidates(): number[] {
    const candidates = [];
    for (let index = this.#position; index < this.#progress.length; index++) {
      candidates.push(index);
      const { count, pattern } = this.#progress[index];
      if (count < pattern.minimum) break;
    }
    return candidates;
  }
}

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
