import type { CType, Writable } from "./c_type.ts";

/** A C integer type. */
export interface Scalar<Value extends number | bigint> extends CType<Value> {
  /** `"u8"` … `"s64"`, as the kernel abbreviates them. */
  readonly name: string;
  /** The smallest value it holds. */
  readonly min: Value;
  /** The largest value it holds. */
  readonly max: Value;
}

function check<Value extends number | bigint>(
  type: { name: string; min: Value; max: Value },
  value: Value,
  path: string,
): void {
  if (value < type.min || value > type.max) {
    throw new RangeError(
      `Cannot write ${path} as ${value}: it holds ${type.min} to ${type.max} (${type.name})`,
    );
  }
}

function smallScalar(
  name: string,
  size: number,
  [min, max]: [number, number],
  get: (view: DataView, offset: number) => number,
  set: (view: DataView, offset: number, value: number) => void,
): Scalar<number> {
  const type = { name, min, max };
  return {
    ...type,
    size,
    alignment: size,
    fields: [],
    read: get,
    write(view, offset, value, path) {
      if (typeof value !== "number" || !Number.isInteger(value)) {
        throw new TypeError(
          `Cannot write ${path} as ${
            describe(value)
          }: it is a ${name}, which takes an integer number`,
        );
      }
      check(type, value, path);
      set(view, offset, value);
    },
  };
}

function bigScalar(
  name: string,
  [min, max]: [bigint, bigint],
  get: (view: DataView, offset: number) => bigint,
  set: (view: DataView, offset: number, value: bigint) => void,
): Scalar<bigint> {
  const type = { name, min, max };
  return {
    ...type,
    size: 8,
    alignment: 8,
    fields: [],
    read: get,
    write(view, offset, value: Writable<bigint>, path) {
      if (typeof value !== "bigint" && !Number.isSafeInteger(value)) {
        throw new TypeError(
          `Cannot write ${path} as ${describe(value)}: ` +
            `it is a ${name}, which takes a bigint or a safe integer`,
        );
      }
      const big = BigInt(value);
      check(type, big, path);
      set(view, offset, big);
    },
  };
}

function describe(value: unknown): string {
  return typeof value === "bigint"
    ? `${value}n`
    : typeof value === "object"
    ? "an object"
    : String(value);
}

const UNSIGNED_64: [bigint, bigint] = [0n, 2n ** 64n - 1n];

/** The type of {@linkcode u8}: told from the other scalars because arrays of it read as `Uint8Array`s. */
export interface Byte extends Scalar<number> {
  /** Tells it from the other scalars. */
  readonly byte: true;
}

/** `__u8`, and `char` where its sign means nothing: 0 to 255. */
export const u8: Byte = {
  ...smallScalar(
    "u8",
    1,
    [0, 0xff],
    (view, offset) => view.getUint8(offset),
    (view, offset, value) => view.setUint8(offset, value),
  ),
  byte: true,
};

/** `__s8`: −128 to 127. */
export const s8: Scalar<number> = smallScalar(
  "s8",
  1,
  [-0x80, 0x7f],
  (view, offset) => view.getInt8(offset),
  (view, offset, value) => view.setInt8(offset, value),
);

/** `__u16`: 0 to 65535. */
export const u16: Scalar<number> = smallScalar(
  "u16",
  2,
  [0, 0xffff],
  (view, offset) => view.getUint16(offset, true),
  (view, offset, value) => view.setUint16(offset, value, true),
);

/** `__s16`: −32768 to 32767. */
export const s16: Scalar<number> = smallScalar(
  "s16",
  2,
  [-0x8000, 0x7fff],
  (view, offset) => view.getInt16(offset, true),
  (view, offset, value) => view.setInt16(offset, value, true),
);

/** `__u32`: 0 to 2³²−1. */
export const u32: Scalar<number> = smallScalar(
  "u32",
  4,
  [0, 0xffff_ffff],
  (view, offset) => view.getUint32(offset, true),
  (view, offset, value) => view.setUint32(offset, value, true),
);

/** `__s32` and `int`: −2³¹ to 2³¹−1. */
export const s32: Scalar<number> = smallScalar(
  "s32",
  4,
  [-0x8000_0000, 0x7fff_ffff],
  (view, offset) => view.getInt32(offset, true),
  (view, offset, value) => view.setInt32(offset, value, true),
);

/** `__u64`: a bigint from 0 to 2⁶⁴−1. */
export const u64: Scalar<bigint> = bigScalar(
  "u64",
  UNSIGNED_64,
  (view, offset) => view.getBigUint64(offset, true),
  (view, offset, value) => view.setBigUint64(offset, value, true),
);

/** `__s64`: a bigint from −2⁶³ to 2⁶³−1. */
export const s64: Scalar<bigint> = bigScalar(
  "s64",
  [-(2n ** 63n), 2n ** 63n - 1n],
  (view, offset) => view.getBigInt64(offset, true),
  (view, offset, value) => view.setBigInt64(offset, value, true),
);

/** `void *` of a 64-bit process: its address as a bigint. */
export const pointer: Scalar<bigint> = { ...u64, name: "pointer" };

/** `unsigned long` of a 64-bit process: a bigint from 0 to 2⁶⁴−1. */
export const ulong: Scalar<bigint> = { ...u64, name: "unsigned long" };

/**
 * A `u8` of which the kernel uses the low bits only: `write` refuses what it would cut off silently.
 *
 * @param max The largest value that is not cut.
 */
export function u8UpTo(max: number): Scalar<number> {
  const type = { name: "u8", min: 0, max };
  const { byte: _, ...scalar } = u8;
  return {
    ...scalar,
    ...type,
    write(view, offset, value, path) {
      if (typeof value === "number") check(type, value, path);
      u8.write(view, offset, value, path);
    },
  };
}
