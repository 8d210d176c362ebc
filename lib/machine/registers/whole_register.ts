import { atCaller } from "../../guest/call_site.ts";

/** A register that has parts by name, and a value as a whole. */
export class WholeRegister {
  readonly #read: () => bigint;
  readonly #write: (value: bigint) => void;

  /** A register that `read` and `write` reach. */
  constructor(read: () => bigint, write: (value: bigint) => void) {
    this.#read = read;
    this.#write = write;
  }

  /** The whole register. */
  get value(): bigint {
    return this.#read();
  }

  set value(value: bigint) {
    const { set } = Object.getOwnPropertyDescriptor(WholeRegister.prototype, "value")!;
    atCaller(set!, () => this.#write(value));
  }

  /** The whole register, so that it compares and computes like a bigint. */
  valueOf(): bigint {
    return this.#read();
  }
}

/**
 * A value that is about to be written to a register.
 *
 * @param width How many bits it has.
 * @throws {TypeError} When it is no number.
 * @throws {RangeError} When it does not fit.
 */
export function wholeNumber(name: string, value: unknown, width: number): bigint {
  checkIsNumber(name, value);
  const integer = typeof value === "number" && !Number.isSafeInteger(value) ? -1n : BigInt(value);
  if (BigInt.asUintN(width, integer) === integer) return integer;
  throw new RangeError(
    `Cannot set ${name} as ${value}: it is not a whole number from 0 to 2^${width} - 1`,
  );
}

/** What TypeScript refuses, `BigInt` would take: `true` as 1, `""` as 0. @throws {TypeError} */
export function checkIsNumber(name: string, value: unknown): asserts value is bigint | number {
  if (typeof value === "bigint" || typeof value === "number") return;
  throw new TypeError(`Cannot set ${name} as ${value}: give a number, a bigint or a label`);
}

/** What a register is set to, with the address of a label in place of its name. */
export type LabelReader = (value: unknown) => unknown;
