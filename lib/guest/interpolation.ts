import { AsmSource } from "./asm_source.ts";

/**
 * What may stand in `${…}` of an asm literal: a whole number; the name of a symbol or register; bytes, which become
 * a list for `db`; another asm literal, on a line of its own.
 */
export type AsmValue = number | bigint | string | Uint8Array | AsmSource;

/** NASM's identifiers and `$`-escaped ones (NASM manual, "Layout of a NASM source line"). */
const IDENTIFIER = /^\$?[A-Za-z_.?][A-Za-z0-9_$#@~.?]*$/;
const MINIMUM_INTEGER = -(2n ** 63n);
const MAXIMUM_INTEGER = 2n ** 64n - 1n;
const ALLOWED =
  "Interpolate a safe integer, a bigint, a symbol's or register's name, a Uint8Array " +
  "or another asm literal";

/**
 * The NASM text for an interpolated value, but for an {@linkcode AsmSource}, which is left as it is.
 *
 * @param where What the message of an error says of the place: "interpolation 2 (x_test.ts:14)".
 * @throws {TypeError} When the value is of another kind.
 * @throws {RangeError} When a whole number is wider than 64 bits, or not exact as a `number`.
 */
export function interpolate(value: unknown, where: string): string | AsmSource {
  switch (typeof value) {
    case "number":
      return interpolateNumber(value, where);
    case "bigint":
      if (value >= MINIMUM_INTEGER && value <= MAXIMUM_INTEGER) return String(value);
      throw new RangeError(
        `Cannot use ${value}n as NASM text: ${where} does not fit 64 bits; give parts of it, or its bytes`,
      );
    case "string":
      if (IDENTIFIER.test(value)) return value;
      throw refusal(
        JSON.stringify(value),
        where,
        "is a string that is not the name of a symbol or register. For the bytes of a text write " +
          "db ${new TextEncoder().encode(text)}; for instructions interpolate another asm literal",
      );
    case "boolean":
      throw refusal(value, where, "is a boolean. Write ${Number(flag)} for 1 and 0");
    case "undefined":
      throw refusal(value, where, `is undefined. ${ALLOWED}`);
    case "object":
      return interpolateObject(value, where);
    default:
      throw refusal(`a ${typeof value}`, where, `is a ${typeof value}. ${ALLOWED}`);
  }
}

function interpolateNumber(value: number, where: string): string {
  if (Number.isSafeInteger(value)) return String(value);
  if (Number.isInteger(value)) {
    throw new RangeError(
      `Cannot use ${value} as NASM text: ${where} is beyond 2^53, where a number is not exact; ` +
        "write it as a bigint",
    );
  }
  throw refusal(
    value,
    where,
    "is not a whole number. Round it; a floating-point constant goes into the NASM text itself",
  );
}

function interpolateObject(value: object | null, where: string): string | AsmSource {
  if (value instanceof AsmSource) return value;
  if (value instanceof Uint8Array) return value.length === 0 ? '""' : value.join(",");
  const kind = value === null ? "null" : Array.isArray(value) ? "an array" : describeObject(value);
  const hint = ArrayBuffer.isView(value) || value instanceof ArrayBuffer || Array.isArray(value)
    ? "For bytes give a Uint8Array"
    : ALLOWED;
  throw refusal(kind, where, `is ${kind}. ${hint}`);
}

function describeObject(value: object): string {
  const name = value.constructor?.name;
  return name === undefined || name === "Object" ? "an object" : `an object (${name})`;
}

function refusal(shown: unknown, where: string, problem: string): TypeError {
  return new TypeError(`Cannot use ${shown} as NASM text: ${where} ${problem}.`);
}
