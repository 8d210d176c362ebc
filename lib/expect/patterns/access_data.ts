import type { Exit } from "../../kvm/exits/exit.ts";
import {
  littleEndianBytes,
  littleEndianInteger,
  repeated,
} from "../../machine/exits/answer_bytes.ts";
import { contentBytes, type MemoryContent } from "../../machine/memory/address_space.ts";
import { hex } from "../../x86/hex.ts";
import { formatBytes, formatCount, formatInteger } from "../format.ts";
import {
  any,
  MISMATCH,
  type Occurrence,
  type PatternDefinition,
  type PatternMatch,
  type PlainAccess,
} from "./exit_pattern.ts";

const BYTE_BITS = 8;

/** Bytes of what the run loop has as a number. */
const NUMBER_SIZE = 4;

/** How wide the accesses of a pattern are. */
export interface Width {
  /** Bytes of each access, where the test says it. */
  readonly size: number | undefined;
  /** The widths that there are. */
  readonly sizes: readonly number[];
}

/** The widths of the processor's integers. */
const NATURAL_SIZES: readonly number[] = [1, 2, 4, 8];

/**
 * The width of the accesses that carry a value, where the test does not say it: of a number the narrowest that holds
 * it. Undefined where the value is not a number.
 */
export function naturalSize(value: unknown): number | undefined {
  if (typeof value !== "number" && typeof value !== "bigint") return undefined;
  return NATURAL_SIZES.find((size) => fits(value, size));
}

/**
 * Asks a test's function about what came.
 *
 * @throws {TypeError} When it answers anything but true or false: a promise is neither.
 */
export function holds(predicate: (value: never) => unknown, value: unknown): boolean {
  const answer = predicate(value as never);
  if (typeof answer === "boolean") return answer;
  const shown = answer instanceof Promise ? "a promise" : String(answer);
  throw new TypeError(
    `Cannot judge an exit by ${
      predicate.name || "a function"
    }: it answered ${shown}; return true or false, and not later`,
  );
}

/**
 * Checks that no argument of a pattern's function is there as undefined, which must not mean "anything".
 *
 * @throws {TypeError} When one is.
 */
export function checkArguments(
  name: string,
  given: ArrayLike<unknown>,
  names: readonly string[],
): void {
  const index = Array.from(given).indexOf(undefined);
  if (index < 0) return;
  throw new TypeError(
    `Cannot expect ${name} with ${
      names[index]
    } undefined: leave it out, or give \`any\`; is a name misspelt where it comes from?`,
  );
}

/** Why something is no port, address or width: of another type than a number, or out of range. */
export function whyNot(given: unknown, range: string): string {
  return typeof given === "number"
    ? `it is not ${range}`
    : `it is a ${typeof given}; give a number`;
}

/**
 * Checks the width of a pattern's accesses.
 *
 * @throws {RangeError} When the processor has no access of that width.
 */
export function checkSize(where: string, { size, sizes }: Width): void {
  if (size === undefined || sizes.includes(size)) return;
  throw new RangeError(
    `Cannot expect an access of ${
      typeof size === "bigint" ? `${size}n` : String(size)
    } bytes ${where}: the widths there are ${sizes.join(", ")}. Leave it out for that of the data.`,
  );
}

/**
 * Checks what a pattern expects or answers: a value of one access, or the bytes of several.
 *
 * @param verb `"expect"` or `"answer"`.
 * @param where `"at port 0x60"`.
 * @throws {RangeError} When no access of that width could carry it.
 * @throws {TypeError} When it is neither number, bigint, text nor bytes.
 */
export function checkValue(
  verb: "expect" | "answer",
  where: string,
  value: number | bigint | MemoryContent,
  width: Width,
): void {
  if (typeof value === "number" || typeof value === "bigint") {
    checkInteger(verb, where, value, width);
  } else if (typeof value === "string" || value instanceof Uint8Array || Array.isArray(value)) {
    checkBytes(verb, where, contentBytes(value), width);
  } else {
    throw new TypeError(
      `Cannot ${verb} ${
        typeName(value)
      } ${where}: give a number, a bigint, a string, a Uint8Array or an array of bytes`,
    );
  }
}

/** Whether an access of `size` bytes can carry `value`. */
export function fits(value: number | bigint, size: number): boolean {
  return BigInt(value) >> BigInt(BYTE_BITS * size) === 0n;
}

function checkInteger(
  verb: string,
  where: string,
  value: number | bigint,
  { size, sizes }: Width,
): void {
  if ((typeof value === "number" && !Number.isSafeInteger(value)) || value < 0) {
    throw new RangeError(
      `Cannot ${verb} ${value} ${where}: it is not a whole number from 0 up (above 2^53 - 1, give a bigint)`,
    );
  }
  const widest = size ?? Math.max(...sizes);
  if (!fits(value, widest)) {
    throw new RangeError(
      `Cannot ${verb} ${hex(value)} ${where}: it is wider than an access of ${
        formatCount(widest, "byte")
      }. Give bytes to spread it over several.`,
    );
  }
}

function checkBytes(verb: string, where: string, bytes: Uint8Array, { size }: Width): void {
  if (bytes.length === 0) {
    throw new RangeError(
      `Cannot ${verb} no bytes ${where}: ${
        verb === "expect" ? "leave the data out to accept any" : "give at least one"
      }`,
    );
  }
  if (size !== undefined && bytes.length % size !== 0) {
    throw new RangeError(
      `Cannot ${verb} ${
        formatCount(bytes.length, "byte")
      } ${where}: accesses of ${size} bytes do not carry that many`,
    );
  }
}

function typeName(value: unknown): string {
  return value === null || value === undefined ? String(value) : `a value of type ${typeof value}`;
}

/**
 * What a pattern expects to be written: a number (the value of one access), bytes or text (which may take several
 * accesses), a function that judges the bytes of one access, or {@linkcode any}.
 */
export type ExpectedData =
  | number
  | bigint
  | MemoryContent
  | ((bytes: Uint8Array) => boolean)
  | typeof any;

/** {@linkcode ExpectedData} as text for failure pages. */
export function expectedDataText(data: ExpectedData | undefined): string {
  if (data === undefined || data === any) return "any value";
  if (typeof data === "number" || typeof data === "bigint") return formatInteger(data);
  if (typeof data === "function") return data.name === "" ? "a matching value" : data.name;
  return formatBytes(contentBytes(data));
}

/**
 * What is still to come of data of which `done` bytes have, after the pattern's own text; empty before the
 * first.
 */
function remainingText(data: ExpectedData | undefined, done: number): string {
  if (done === 0 || !isContent(data)) return "";
  return `, from byte ${done} on: ${formatBytes(contentBytes(data).subarray(done))}`;
}

/** How many bytes the data takes, where several accesses may bring them; else 1. */
export function expectedLength(data: ExpectedData | undefined): number {
  return isContent(data) ? contentBytes(data).length : 1;
}

/**
 * Whether an exit's bytes are what was expected: of text and bytes, the part behind the `done` bytes that earlier exits
 * have brought; of all else, each access by itself, of which a string instruction can make several in one exit.
 */
function takeData(
  data: ExpectedData | undefined,
  { data: bytes, size }: WriteAccess,
  done: number,
): PatternMatch {
  if (isContent(data)) {
    const expected = contentBytes(data);
    const end = done + bytes.length;
    const isNext = end <= expected.length &&
      bytes.every((byte, index) => byte === expected[done + index]);
    return isNext ? { matches: true, complete: end === expected.length } : MISMATCH;
  }
  const count = bytes.length / size;
  for (let index = 0; index < count; index++) {
    if (!isExpected(data, bytes.subarray(index * size, (index + 1) * size))) return MISMATCH;
  }
  return { matches: true, complete: true, count };
}

function isExpected(data: Exclude<ExpectedData, MemoryContent> | undefined, bytes: Uint8Array) {
  if (data === undefined || data === any) return true;
  if (typeof data === "function") return holds(data, bytes);
  return littleEndianInteger(bytes) === BigInt(data);
}

/**
 * Checks, where a pattern is written, what can only be a mistake.
 *
 * @throws {RangeError} When no access could bring the data.
 * @throws {TypeError} When it is no data.
 */
export function checkExpectedData(
  where: string,
  data: ExpectedData | undefined,
  width: Width,
): void {
  if (data === undefined || data === any || typeof data === "function") return;
  checkValue("expect", where, data, width);
}

function isContent(data: ExpectedData | undefined): data is MemoryContent {
  return typeof data === "object" || typeof data === "string";
}

/** What is known of each access of a pattern, before what it carries. */
export type AccessPlace = Omit<PlainAccess, "value" | "bytes">;

/** The access of a pattern of writes, where each is one by itself, of a number that fits 32 bits or of anything. */
export function plainWrite(
  place: AccessPlace,
  data: ExpectedData | undefined,
): PlainAccess | undefined {
  if (data === undefined || data === any) return place;
  if (!isInteger(data) || !fits(data, NUMBER_SIZE)) return undefined;
  return { ...place, value: Number(data) };
}

/** The access of a pattern of reads that answers each with a number. */
export function plainRead(place: AccessPlace, answer: Answer): PlainAccess | undefined {
  const { size } = place;
  if (!isInteger(answer) || size === undefined || !fits(answer, size)) return undefined;
  return { ...place, bytes: littleEndianBytes(answer, size) };
}

/** An access that writes. */
export interface WriteAccess {
  /** Bytes of one element. */
  readonly size: number;
  /** What is written: more than one element by string instructions. */
  readonly data: Uint8Array;
}

/** What a test gave, as it is now: a view of the guest's memory would be compared with itself. */
function copied<Data>(data: Data): Data {
  return (data instanceof Uint8Array || Array.isArray(data) ? data.slice() : data) as Data;
}

/**
 * The definition of a pattern of writes.
 *
 * @param definition What it is called, and which exits it names.
 * @param accessOf The access, where an exit is the write that comes after `done` bytes, of which `first` was the first;
 * else undefined.
 */
export function writing(
  definition: Pick<PatternDefinition, "text" | "names" | "access">,
  data: ExpectedData | undefined,
  accessOf: (exit: Exit, done: number, first: Exit | undefined) => WriteAccess | undefined,
): PatternDefinition {
  const expected = copied(data);
  return {
    ...definition,
    begin(): Occurrence {
      let done = 0;
      let first: Exit | undefined;
      return {
        get text() {
          return definition.text + remainingText(expected, done);
        },
        offer(exit) {
          const access = accessOf(exit, done, first);
          if (access === undefined) return MISMATCH;
          const match = takeData(expected, access, done);
          if (match.matches) {
            done += access.data.length;
            first ??= exit;
          }
          return match;
        },
      };
    },
  };
}

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
 * @param accessOf The access, where an exit is the read that comes after `done` bytes, of which `first` was the first;
 * else undefined.
 */
export function answering(
  definition: PatternDefinition,
  given: Answer,
  accessOf: (exit: Exit, done: number, first: Exit | undefined) => ReadAccess | undefined,
): PatternDefinition {
  const answer = copied(given);
  const text = `${definition.text} → ${answerText(answer)}`;
  return {
    ...definition,
    text,
    begin(): Occurrence {
      let done = 0;
      let first: Exit | undefined;
      return {
        get text() {
          return text + restText(answer, done);
        },
        offer(exit) {
          const access = accessOf(exit, done, first);
          if (access === undefined) return MISMATCH;
          const match = take(answer, access, done);
          if (match.matches) {
            done += access.size * access.count;
            first ??= exit;
          }
          return match;
        },
      };
    },
  };
}

function take(answer: Answer, { size, count }: ReadAccess, done: number): PatternMatch {
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

function isInteger(answer: unknown): answer is number | bigint {
  return typeof answer === "number" || typeof answer === "bigint";
}
