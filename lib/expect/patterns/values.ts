import { contentBytes, type MemoryContent } from "../../machine/memory/address_space.ts";
import { hex } from "../../x86/hex.ts";
import { formatCount } from "../format.ts";

const BYTE_BITS = 8;

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

/**
 * Checks the width of a pattern's accesses.
 *
 * @throws {RangeError} When the processor has no access of that width.
 */
export function checkSize(where: string, { size, sizes }: Width): void {
  if (size === undefined || sizes.includes(size)) return;
  throw new RangeError(
    `Cannot expect an access of ${size} bytes ${where}: the widths there are ${
      sizes.join(", ")
    }. Leave it out to accept any.`,
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
