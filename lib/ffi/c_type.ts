/**
 * A place inside a structure as C names it, for code that walks layouts (the oracle test compares each
 * with the kernel's header).
 */
export interface Field {
  /** The C path from the structure: `"io.direction"`, `"xcrs[0].value"`. */
  readonly path: string;
  /** Bytes from the structure's start. Of a bit-field: of the unit that holds it. */
  readonly offset: number;
  /** Bytes. 0 for a flexible array member, whose size C does not know. */
  readonly size: number;
  /** The kernel version that brought it, where not every kernel in use has it. */
  readonly since?: string;
  /** Where a bit-field lies in its unit. */
  readonly bits?: {
    /** The lowest bit, counted from the unit's least significant. */
    readonly first: number;
    /** How many bits. */
    readonly count: number;
  };
}

/**
 * What `write` takes for a value that `read` gives as `Value`: any part of it, 64-bit numbers also as
 * safe integers, bytes also as a list of numbers.
 */
export type Writable<Value> = Value extends bigint ? bigint | number
  : Value extends number ? number
  : Value extends Uint8Array ? Uint8Array | readonly number[]
  : Value extends readonly (infer Element)[] ? readonly Writable<Element>[]
  : { readonly [Name in keyof Value]?: Writable<Value[Name]> };

/** A C type: its layout, and how its bytes (little-endian) become a value and back. */
export interface CType<Value> {
  /** `sizeof`, in bytes. */
  readonly size: number;
  /** `_Alignof`, in bytes. */
  readonly alignment: number;
  /** What lies inside, all levels deep. Empty for a scalar. */
  readonly fields: readonly Field[];
  /** The kernel version that brought it, where not every kernel in use has it. */
  readonly since?: string;
  /**
   * Reads the value at `offset`.
   *
   * @throws {RangeError} When it reaches past the end of the view.
   */
  read(view: DataView, offset: number): Value;
  /**
   * Writes the parts that are given and leaves the other bytes as they are.
   *
   * @param path What errors call the place: `"kvm_segment.dpl"`.
   * @throws {RangeError} When a value does not fit its type, or the place not the view.
   * @throws {TypeError} When a value is of the wrong kind, or a name is not a member's.
   */
  write(view: DataView, offset: number, value: Writable<Value>, path: string): void;
}

/**
 * Marks a type (a structure or one member of it) with the kernel version that brought it.
 *
 * @param version Of Linux: `"6.8"`.
 */
export function since<Type extends CType<unknown>>(version: string, type: Type): Type {
  return { ...type, since: version };
}
