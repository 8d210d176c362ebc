import type { MachineCpu } from "../../machine/machine.ts";
import {
  bytesOfLanes,
  type Lane,
  LANES,
  lanesOf,
} from "../../machine/registers/vector_register.ts";
import { hex } from "../../x86/hex.ts";
import type { Comparison } from "../verdict.ts";

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
