import type { CodeLine } from "../../guest/code_lines.ts";
import type { ImageSegment } from "../../guest/image_init.ts";

/** How much around an instruction is compared to know it again: bytes before its first, and from that on. */
const BEFORE = 8;
const BEHIND = 16;

/** How many bytes from an instruction on say by themselves whether it is still there. */
const FEWEST_BEHIND = 4;

/** How many of the bytes around an instruction without others of its own are to be the same: one of so many. */
const ONE_OF = { untouched: 2, trapped: 4 } as const;

/** A place is taken for a copy of an instruction where at least so many bytes were compared. */
const FEWEST_COMPARED = 6;

/** How many bytes were compared, and how many were the same. */
interface Likeness {
  readonly compared: number;
  readonly equal: number;
}

/** An instruction that may be executed, the first of a source line. */
export class CodePoint {
  /** The line. */
  readonly line: CodeLine;
  /** Where it is in the list of points. */
  readonly index: number;
  /** Its first byte. */
  readonly original: number;
  /** Whether it has been executed. */
  isReached = false;
  readonly #segment: ImageSegment;
  readonly #offset: number;
  readonly #starts: ReadonlySet<bigint>;

  /**
   * The instruction at which a line begins in its segment.
   *
   * @param starts The addresses of all of the guest's: traps may stand there.
   */
  constructor(line: CodeLine, index: number, segment: ImageSegment, starts: ReadonlySet<bigint>) {
    this.line = line;
    this.index = index;
    this.#segment = segment;
    this.#starts = starts;
    this.#offset = Number(line.address - segment.address);
    this.original = segment.bytes[this.#offset];
  }

  /**
   * Whether the place where it was trapped still has it: by the rest of its bytes, or, where it has none or the guest has
   * changed them, by most of those around it.
   *
   * @param isTrapped Whether a trap was put there, and the byte is one. Then code that the guest has written right before or
   *   behind it says less.
   */
  isStillAt(memory: Uint8Array, at: number, trap: number, isTrapped = false): boolean {
    const own = this.#compare(memory, at, trap, 1, this.line.length);
    if (own.compared > 0 && own.equal === own.compared) return true;
    const behind = this.#compare(memory, at, trap, 1, BEHIND);
    if (own.compared > 0 && behind.compared >= FEWEST_BEHIND) {
      return behind.equal * ONE_OF.untouched >= behind.compared;
    }
    const around = this.likeness(memory, at, trap);
    const oneOf = isTrapped && own.compared === 0 ? ONE_OF.trapped : ONE_OF.untouched;
    return around.equal * oneOf >= around.compared;
  }

  /**
   * How many of the bytes around a place in memory are those around this instruction.
   *
   * @param memory The memory that the place is in.
   * @param at The place.
   * @param trap What may stand in the place of instructions' first bytes: it says nothing there.
   */
  likeness(memory: Uint8Array, at: number, trap: number): Likeness {
    return this.#compare(memory, at, trap, -BEFORE, BEHIND);
  }

  #compare(memory: Uint8Array, at: number, trap: number, first: number, end: number): Likeness {
    const { bytes, address } = this.#segment;
    const from = Math.max(first, -this.#offset, -at);
    const to = Math.min(end, bytes.length - this.#offset, memory.length - at);
    let compared = 0;
    let equal = 0;
    for (let offset = from; offset < to; offset++) {
      const is = memory[at + offset];
      const inSegment = this.#offset + offset;
      if (is === trap && this.#starts.has(address + BigInt(inSegment))) continue;
      // Memory is full of zeros: that two are the same says nothing.
      if (is === 0 && bytes[inSegment] === 0) continue;
      compared++;
      if (is === bytes[inSegment]) equal++;
    }
    return { compared, equal };
  }
}

/**
 * The instruction that a place has a copy of: a guest that moves itself moves the traps in it.
 *
 * @returns Undefined where it has none.
 * @throws {Error} Where it has one of several with different first bytes.
 */
export function copiedPoint(
  points: readonly CodePoint[],
  memory: Uint8Array,
  at: number,
  trap: number,
): CodePoint | undefined {
  let best: CodePoint | undefined;
  let most = 0;
  let rival: CodePoint | undefined;
  for (const point of points) {
    const { compared, equal } = point.likeness(memory, at, trap);
    if (compared < FEWEST_COMPARED || equal * 4 < compared * 3 || equal < most) continue;
    if (equal > most) rival = undefined;
    else if (best !== undefined && best.original !== point.original) rival = point;
    if (equal > most) best = point;
    most = equal;
  }
  if (rival === undefined) return best;
  throw new Error(
    `Cannot measure coverage: the guest has copied its code, and lines ${
      best!.line.line
    } and ${rival.line.line} of ` +
      `${
        best!.line.file
      } are so alike that their copies cannot be told apart. Leave this guest out, by ` +
      "`coverage: false`.",
  );
}
