import { refuseUnknownNames } from "./refuse_unknown_names.ts";
import { bytesOfLanes, LANES, laneSize, lanesOf, type VectorLanes } from "./vector_lanes.ts";
import { WholeRegister } from "./whole_register.ts";
import { wholeNumber } from "./whole_number.ts";

const BITS = 8;
const WORD_BITS = 64n;
const WORD_SIZE = 8;

/** A vector register: its value as one integer, and its lanes. */
export class VectorRegister extends WholeRegister {}

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
export function vectorRegister(name: string, bytes: VectorBytes): VectorRegister & VectorLanes {
  const register = new VectorRegister(
    () => integerOf(bytes.read()),
    (value) => bytes.write(bytesOfInteger(wholeNumber(name, value, bytes.size * BITS), bytes.size)),
  );
  for (const lane of LANES) {
    Object.defineProperty(register, lane, {
      enumerable: true,
      get: () => lanesOf(bytes.read(), lane),
      set: (values: unknown) =>
        bytes.write(bytesOfLanes(`set ${name}.${lane}`, lane, bytes.size / laneSize(lane), values)),
    });
  }
  Object.setPrototypeOf(register, refuseUnknownNames(name, VectorRegister.prototype));
  return Object.preventExtensions(register) as VectorRegister & VectorLanes;
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
