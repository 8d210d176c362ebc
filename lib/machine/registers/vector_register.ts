import type { Lane } from "../../x86/registers/xsave.ts";
import { assigning, checkNames } from "./register_names.ts";
import { wholeNumber, WholeRegister } from "./whole_register.ts";

const BITS = 8;
const WORD_BITS = 64n;
const WORD_SIZE = 8;

/**
 * A vector register: its value as one integer, and its lanes, the lowest first. Those of 64-bit integers are bigints.
 */
export type VectorRegister =
  & WholeRegister
  & {
    [Name in Lane]: Name extends "u64" | "i64" ? readonly bigint[] : readonly number[];
  };

/** Where the bytes of a vector register are. */
export interface VectorBytes {
  /** How many they are. */
  readonly size: number;
  /** A copy of them. */
  read(): Uint8Array<ArrayBuffer>;
  /** Replaces them. */
  write(bytes: Uint8Array): void;
}

/** A {@linkcode VectorRegister} called `name`, with a property for each kind of lanes. */
export function vectorRegister(name: string, bytes: VectorBytes): VectorRegister {
  const register = new WholeRegister(
    () => integerOf(bytes.read()),
    (value) => bytes.write(bytesOfInteger(wholeNumber(name, value, bytes.size * BITS), bytes.size)),
  );
  for (const lane of LANES) {
    Object.defineProperty(register, lane, {
      enumerable: true,
      get: () => lanesOf(bytes.read(), lane),
      set: assigning((values: unknown) =>
        bytes.write(bytesOfLanes(`set ${name}.${lane}`, lane, bytes.size / laneSize(lane), values))
      ),
    });
  }
  Object.setPrototypeOf(register, checkNames(name, WholeRegister.prototype));
  return Object.preventExtensions(register) as VectorRegister;
}

/** The bytes, lowest first, as one integer. */
export function integerOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let index = bytes.length - 1; index >= 0; index--) {
    value = value << BigInt(BITS) | BigInt(bytes[index]);
  }
  return value;
}

/** The lowest `size` bytes of an integer, lowest first. */
export function bytesOfInteger(value: bigint, size: number): Uint8Array<ArrayBuffer> {
  const words = Math.ceil(size / WORD_SIZE);
  const view = new DataView(new ArrayBuffer(words * WORD_SIZE));
  for (let index = 0; index < words; index++) {
    view.setBigUint64(index * WORD_SIZE, value >> WORD_BITS * BigInt(index), true);
  }
  return new Uint8Array(view.buffer, 0, size);
}

const ARRAYS = {
  u8: Uint8Array,
  u16: Uint16Array,
  u32: Uint32Array,
  u64: BigUint64Array,
  i8: Int8Array,
  i16: Int16Array,
  i32: Int32Array,
  i64: BigInt64Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

/** The names of all kinds of lanes. */
export const LANES: readonly Lane[] = Object.keys(ARRAYS) as Lane[];

/** Bytes of a lane. */
function laneSize(lane: Lane): number {
  return ARRAYS[lane].BYTES_PER_ELEMENT;
}

/** The lanes of a vector's bytes. The list is frozen: assign a whole one. */
export function lanesOf(bytes: Uint8Array<ArrayBuffer>, lane: Lane): readonly (number | bigint)[] {
  return Object.freeze(Array.from<number | bigint>(new ARRAYS[lane](bytes.slice().buffer)));
}

/**
 * The bytes of a vector from its lanes. What is given to `f32` is rounded to single precision.
 *
 * @param what What is done, for messages: `"set xmm0.f32"`.
 * @param count How many of them the vector has.
 * @throws {TypeError} When they are no list of numbers.
 * @throws {RangeError} When they are not as many as the vector has, or one of them does not fit.
 */
export function bytesOfLanes(
  what: string,
  lane: Lane,
  count: number,
  values: unknown,
): Uint8Array<ArrayBuffer> {
  const array = ARRAYS[lane];
  if (!Array.isArray(values) && !ArrayBuffer.isView(values)) {
    throw new TypeError(`Cannot ${what} as ${values}: give a list of its ${count} lanes`);
  }
  const list = Array.from(values as ArrayLike<unknown>);
  if (list.length !== count) {
    throw new RangeError(
      `Cannot ${what} from ${list.length} lanes: it has ${count}; give all of them, the lowest first`,
    );
  }
  const lanes = new array(count);
  for (const [index, value] of list.entries()) lanes[index] = laneValue(what, lane, index, value);
  return new Uint8Array(lanes.buffer);
}

function laneValue(what: string, lane: Lane, index: number, value: unknown): never {
  if (typeof value !== "number" && typeof value !== "bigint") {
    throw new TypeError(`Cannot ${what} as ${value} in lane ${index}: give a number`);
  }
  if (lane === "f32" || lane === "f64") return Number(value) as never;
  const bits = laneSize(lane) * BITS;
  const wrapped = (integer: bigint) =>
    lane.startsWith("u") ? BigInt.asUintN(bits, integer) : BigInt.asIntN(bits, integer);
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  if (!isWhole || wrapped(BigInt(value)) !== BigInt(value)) {
    throw new RangeError(
      `Cannot ${what} as ${value} in lane ${index}: it is not a whole number of ${bits} bits` +
        (lane.startsWith("u") ? "" : " with a sign"),
    );
  }
  return (bits === 64 ? BigInt(value) : Number(value)) as never;
}
