import type { MachineCpu } from "../../machine/machine.ts";
import { msrEntries } from "../../machine/msrs/msrs.ts";
import { flagRegisterTables } from "../../x86/registers/flag_tables.ts";
import type { Lane } from "../../x86/registers/xsave.ts";
import type { RegisterValues } from "../../machine/registers/registers.ts";
import { bytesOfLanes, LANES, lanesOf } from "../../machine/registers/vector_register.ts";
import { definedEntries } from "../../x86/defined_entries.ts";
import { flagNames, type FlagTable } from "../../x86/registers/flags.ts";
import { hex } from "../../x86/hex.ts";
import { msrName, msrText, type MsrValues } from "../../x86/msrs/msr_number.ts";
import { registerPlaces } from "../../x86/registers/registers.ts";
import { fpuRegisters, simdRegisters, x87StackRegisters } from "../../x86/registers/xsave.ts";
import type { Comparison, MatcherResult } from "../failure_page.ts";
import { formatInteger } from "../format.ts";

const FLAGGED: Readonly<Record<string, FlagTable>> = flagRegisterTables;

const WIDTHS: readonly ReadonlyMap<string, { readonly width: number }>[] = [
  registerPlaces,
  simdRegisters,
  x87StackRegisters,
  new Map(Object.entries(fpuRegisters)),
];

/** How wide a register is that is in none of the tables of widths. */
const USUAL = 64;

/**
 * Compares registers, and parts of them, by name.
 *
 * @throws {TypeError} When no register is named, or a value is not a number, bigint or boolean.
 * @throws {RangeError} When there is no such register, or it could not hold the value.
 */
export function matchRegisters(
  machine: MachineCpu,
  matcher: "toHaveRegisters" | "toHaveFlags",
  values: RegisterValues | RegisterValues["rflags"],
): MatcherResult {
  const named = matcher === "toHaveFlags" ? { rflags: values } : values as RegisterValues;
  const comparisons = entriesOf(named).flatMap(([path, value]) => compare(machine, path, value));
  if (comparisons.length === 0) {
    throw new TypeError("Cannot expect registers: none is named. Write at least one: { rax: 0n }.");
  }
  return {
    call: `${matcher}(${callText(values as object)})`,
    matches: comparisons.every(({ matches }) => matches),
    comparisons: () => comparisons,
  };
}

function entriesOf(values: unknown): [string, unknown][] {
  if (typeof values !== "object" || values === null) {
    throw new TypeError(
      `Cannot expect registers as ${String(values)}: give an object of them, such as { rax: 0n }`,
    );
  }
  return definedEntries("expect", values);
}

function compare(machine: MachineCpu, path: string, given: unknown): Comparison[] {
  const expected = typeof given === "string" ? machine.image.symbol(given) : given;
  if (isLanes(expected)) return [compareLanes(machine, path, expected)];
  if (typeof expected === "number" && x87StackRegisters.has(path.replace(/\.f64$/, ""))) {
    return [compareFloat(machine, path, expected)];
  }
  if (typeof expected === "object" && expected !== null) {
    const parts = entriesOf(expected);
    if (parts.length === 0) {
      throw new TypeError(
        `Cannot expect ${path} as {}: none of its parts is named. Leave it out, or name one.`,
      );
    }
    return parts.flatMap(([name, value]) => compare(machine, `${path}.${name}`, value));
  }
  const received = machine.registers.get(path);
  checkValue(path, expected);
  if (typeof received === "object") {
    throw new TypeError(`Cannot expect ${path} as ${expected}: give a list of its lanes`);
  }
  if (typeof received === "boolean" && BigInt(expected) > 1n) {
    throw new RangeError(
      `Cannot expect ${path} as ${hex(Number(expected))}: a flag is true or false, 1 or 0`,
    );
  }
  if (typeof expected === "boolean" && typeof received !== "boolean") {
    throw new TypeError(
      `Cannot expect ${path} as ${expected}: only a flag is true or false; give a number`,
    );
  }
  return [{
    what: path,
    ...valueTexts(path, expected, received),
    matches: isSame(expected, received),
  }];
}

type RegisterValue = number | bigint | boolean;

function checkValue(path: string, expected: unknown): asserts expected is RegisterValue {
  if (typeof expected === "boolean") return;
  if (typeof expected !== "number" && typeof expected !== "bigint") {
    throw new TypeError(
      `Cannot expect ${path} as ${String(expected)}: it is not a number, bigint, boolean or label`,
    );
  }
  if (typeof expected === "number" && !Number.isSafeInteger(expected)) {
    throw new RangeError(
      `Cannot expect ${path} as ${expected}: a number holds whole values up to 2^53 - 1 exactly; give a bigint`,
    );
  }
  const width = WIDTHS.map((registers) => registers.get(path)?.width)
    .find((found) => found !== undefined) ?? USUAL;
  const fitting = BigInt.asUintN(width, BigInt(expected));
  if (fitting !== BigInt(expected)) {
    throw new RangeError(
      `Cannot expect ${path} as ${hex(expected)}: it is not a whole number of ${width} bits${
        expected < 0 ? `; its two's complement is ${hex(fitting)}` : ""
      }`,
    );
  }
}

/** 1 and true are the same flag; 1 and 1n the same number. */
function isSame(expected: RegisterValue, received: RegisterValue): boolean {
  return BigInt(expected) === BigInt(received);
}

/**
 * Both values, numbers with as many digits as the longer has, so that they can be compared digit by digit.
 */
function valueTexts(
  path: string,
  expected: RegisterValue,
  received: RegisterValue,
): { expected: string; received: string } {
  if (typeof expected === "boolean" || typeof received === "boolean") {
    return { expected: String(expected), received: String(received) };
  }
  const digits = Math.max(expected.toString(16).length, received.toString(16).length);
  const table = FLAGGED[path];
  const text = (value: number | bigint) => {
    if (table !== undefined) {
      return `${hex(value, digits)} (${flagNames(table, BigInt(value)).join(" ")})`;
    }
    return formatInteger(value).replace(hex(value), hex(value, digits));
  };
  return { expected: text(expected), received: text(received) };
}

function callText(values: object): string {
  const parts = entriesOf(values).map(([name, value]) => {
    const key = name.includes(".") ? JSON.stringify(name) : name;
    if (typeof value === "bigint" || Number.isSafeInteger(value)) {
      return `${key}: ${hex(value as number | bigint)}`;
    }
    if (typeof value === "string") return `${key}: ${JSON.stringify(value)}`;
    if (isLanes(value)) return `${key}: [${Array.from(value, String).join(", ")}]`;
    if (typeof value === "object" && value !== null) return `${key}: ${callText(value)}`;
    return `${key}: ${value}`;
  });
  return `{ ${parts.join(", ")} }`;
}

type LaneValue = number | bigint;

/** Whether an expectation is a list of lanes. */
export function isLanes(expected: unknown): expected is ArrayLike<LaneValue> {
  return Array.isArray(expected) || ArrayBuffer.isView(expected) && "length" in expected;
}

/**
 * Compares the lanes of a vector register: those of floating-point numbers after rounding to what a lane can
 * hold. Not-a-numbers are the same, 0 and -0 are not.
 *
 * @param path `"xmm0.f32"`.
 * @throws {TypeError} When that is no vector, or the lanes are no numbers.
 * @throws {RangeError} When they are not as many, or one could not be in its lane.
 */
export function compareLanes(
  machine: MachineCpu,
  path: string,
  expected: ArrayLike<LaneValue>,
): Comparison {
  const received = machine.registers.get(path);
  const lane = LANES.find((each) => path.endsWith(`.${each}`));
  if (typeof received !== "object" || lane === undefined) {
    throw new TypeError(
      `Cannot expect ${path} as a list: only lanes of vectors are lists, such as "xmm0.f32"`,
    );
  }
  const bytes = bytesOfLanes(`expect ${path}`, lane, received.length, expected);
  return { what: path, ...laneTexts(lanesOf(bytes, lane), received, lane) };
}

/** Compares a register of the stack of x87 with a number: with the double that is nearest to it. */
export function compareFloat(machine: MachineCpu, path: string, expected: number): Comparison {
  const whole = path.endsWith(".f64") ? path : `${path}.f64`;
  const received = machine.registers.get(whole) as number;
  return {
    what: whole,
    expected: numberText(expected),
    received: numberText(received),
    matches: Object.is(expected, received),
  };
}

/** Both lists in the same columns, with a mark at the first lane that differs. */
function laneTexts(expected: readonly LaneValue[], received: readonly LaneValue[], lane: Lane) {
  const text = lane.startsWith("u") ? (value: LaneValue) => hex(value) : numberText;
  const pairs = expected.map((value, index) => [text(value), text(received[index])] as const);
  const widths = pairs.map(([left, right]) => Math.max(left.length, right.length));
  const row = (side: 0 | 1) =>
    `[${pairs.map((pair, index) => pair[side].padStart(widths[index])).join(", ")}]`;
  const first = expected.findIndex((value, index) => !Object.is(value, received[index]));
  const column = widths.slice(0, first + 1).reduce((sum, width) => sum + width + 2, 0) - 2;
  return {
    expected: row(0),
    received: row(1),
    matches: first < 0,
    ...(first < 0 ? {} : { mark: `${" ".repeat(column)}^ lane ${first}` }),
  };
}

function numberText(value: LaneValue): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

/**
 * Compares MSRs by name or number.
 *
 * @throws {TypeError} When none is named, or a value is neither number nor bigint.
 * @throws {RangeError} When there is none of a name, or it could not hold the value.
 * @throws {MsrError} When the vCPU does not have one.
 */
export function matchMsrs(machine: MachineCpu, values: MsrValues): MatcherResult {
  const entries = typeof values === "object" && values !== null
    ? msrEntries(values, (name) => machine.image.symbol(name), "expect")
    : [];
  if (entries.length === 0) {
    throw new TypeError(
      "Cannot expect MSRs: none is named. Write at least one: { LSTAR: 0x1000 }.",
    );
  }
  const comparisons = entries.map(({ index, data: expected }) => {
    const received = machine.msrs.get(index);
    const digits = Math.max(expected.toString(16).length, received.toString(16).length);
    const text = (value: bigint) => formatInteger(value).replace(hex(value), hex(value, digits));
    return {
      what: msrText(index),
      expected: text(expected),
      received: text(received),
      matches: expected === received,
    };
  });
  const call = entries.map(({ index, data }) => `${msrName(index) ?? hex(index)}: ${hex(data)}`);
  return {
    call: `toHaveMsrs({ ${call.join(", ")} })`,
    matches: comparisons.every(({ matches }) => matches),
    comparisons: () => comparisons,
  };
}
