import { contentBytes, type MemoryContent } from "../../machine/memory/address_space.ts";
import { littleEndianBytes, repeated } from "../../machine/exits/answer_bytes.ts";
import { formatBytes, formatCount, formatInteger } from "../format.ts";
import { MISMATCH, type Occurrence, type PatternDefinition, type Verdict } from "./exit_pattern.ts";
import { fits } from "./values.ts";

/**
 * What the guest gets for a read: a number, in one access; or bytes or text, handed out in order over as
 * many accesses as they last.
 */
export type Answer = number | bigint | MemoryContent;

/** An access that reads. */
export interface ReadAccess {
  /** Bytes of one element. */
  readonly size: number;
  /** Elements: more than one for string instructions. */
  readonly count: number;
}

/**
 * The definition of a pattern of reads that answers.
 *
 * @param definition The pattern without its answer.
 * @param accessOf The access, where an exit is the read that comes after `done` bytes; else undefined.
 */
export function answering<Access extends ReadAccess>(
  definition: PatternDefinition,
  answer: Answer,
  accessOf: (exit: Parameters<Occurrence["offer"]>[0], done: number) => Access | undefined,
): PatternDefinition {
  const text = `${definition.text} → ${answerText(answer)}`;
  return {
    text,
    names: definition.names,
    begin(): Occurrence {
      let done = 0;
      return {
        get text() {
          return text + restText(answer, done);
        },
        offer(exit) {
          const access = accessOf(exit, done);
          if (access === undefined) return MISMATCH;
          const verdict = take(answer, access, done);
          if (verdict.matches) done += access.size * access.count;
          return verdict;
        },
      };
    },
  };
}

function take(answer: Answer, { size, count }: ReadAccess, done: number): Verdict {
  if (isInteger(answer)) {
    // A value that the access cannot carry: the guest does not read what the test thinks.
    if (!fits(answer, size)) return MISMATCH;
    const bytes = repeated(littleEndianBytes(answer, size), count);
    return { matches: true, complete: true, count, answer: bytes };
  }
  const bytes = contentBytes(answer);
  const end = done + size * count;
  if (end > bytes.length) return MISMATCH;
  return { matches: true, complete: end === bytes.length, answer: bytes.slice(done, end) };
}

function answerText(answer: Answer): string {
  if (isInteger(answer)) return formatInteger(answer);
  const bytes = contentBytes(answer);
  return `${formatBytes(bytes)}${
    bytes.length === 1 ? "" : ` (${formatCount(bytes.length, "byte")})`
  }`;
}

function restText(answer: Answer, done: number): string {
  if (done === 0 || isInteger(answer)) return "";
  return `, from byte ${done} on: ${formatBytes(contentBytes(answer).subarray(done))}`;
}

function isInteger(answer: Answer): answer is number | bigint {
  return typeof answer === "number" || typeof answer === "bigint";
}
