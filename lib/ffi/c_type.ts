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

/** A member whose own members C reaches without a name for it: an anonymous union or structure. */
export interface Hoisted<Value> extends CType<Value> {
  /** Tells it from a named member. */
  readonly hoisted: true;
}

/** The members of a structure or union, in the header's order. A hoisted one's key says only what it is. */
export type Members = Record<string, CType<unknown>>;

/** The intersection of a union's members. */
export type Both<Union> = (Union extends unknown ? (part: Union) => void : never) extends
  (whole: infer Whole) => void ? Whole : never;

/** What the anonymous members among these read as. */
export type HoistedValues<Of extends Members> = {
  [Name in keyof Of]: Of[Name] extends Hoisted<infer Value> ? Value : never;
}[keyof Of];

/** What a structure with these members reads as. */
export type MembersValue<Of extends Members> =
  & {
    [Name in keyof Of as Of[Name] extends Hoisted<unknown> ? never : Name]: ReturnType<
      Of[Name]["read"]
    >;
  }
  & ([HoistedValues<Of>] extends [never] ? unknown : Both<HoistedValues<Of>>);

/** How a C path goes on behind a member that reads as `Value`. */
export type InnerPath<Value> = Value extends number | bigint ? never
  : Value extends Uint8Array ? `[${number}]`
  : Value extends readonly (infer Element)[] ? `[${number}]` | `[${number}]${InnerPath<Element>}`
  : `.${FieldPath<Value>}`;

/** The C paths into a structure that reads as `Value`: `"io.direction"`, `"xcrs[3].value"`. */
export type FieldPath<Value> = {
  [Name in keyof Value & string]: Name | `${Name}${InnerPath<Value[Name]>}`;
}[keyof Value & string];

/** What every structure can be asked without knowing its members' types: for code that walks many. */
export interface StructLayout {
  /** The header's name, without `struct`. Empty for one that has none. */
  readonly name: string;
  /** `sizeof`, in bytes, without a flexible array's elements. */
  readonly size: number;
  /** `_Alignof`, in bytes. */
  readonly alignment: number;
  /** Every member at every depth, by C path. */
  readonly fields: readonly Field[];
  /** The kernel version that brought it, where not every kernel in use has it. */
  readonly since?: string;
  /**
   * `offsetof`, in bytes.
   *
   * @throws {RangeError} When there is no such member or element.
   */
  offsetOf(path: string): number;
}

/**
 * A C structure: its layout as data, and its bytes as a plain object and back. `Value` is exact (`in out`): a type that
 * names a member less, or one more, than the structure has is refused where both are written beside each other.
 */
export interface Struct<in out Value> extends StructLayout, CType<Value> {
  /**
   * `offsetof`, in bytes. Take it once, at module load, where speed counts.
   *
   * @throws {RangeError} When there is no such member or element.
   */
  offsetOf(path: FieldPath<Value>): number;
  /**
   * `sizeof` one member, in bytes.
   *
   * @throws {RangeError} When there is no such member or element.
   */
  sizeOf(path: FieldPath<Value>): number;
  /**
   * Bytes for a structure whose flexible array has `elements` elements.
   *
   * @throws {TypeError} When it has no flexible array.
   */
  sizeFor(elements: number): number;
  /**
   * Reads it at `offset`: 64-bit members as bigints, bytes as copied `Uint8Array`s, a union as all its
   * members.
   *
   * @throws {RangeError} When it reaches past the end of the view.
   */
  read(view: DataView, offset?: number): Value;
  /**
   * Writes the members that are given and leaves the other bytes as they are.
   *
   * @throws {RangeError} When a value does not fit its member, or the structure not the view.
   * @throws {TypeError} When a value is of the wrong kind, a name is not a member's, or members of one union
   * are given that contradict each other.
   */
  write(view: DataView, offset: number, value: Writable<Value>, path?: string): void;
}

/** How a structure departs from C's natural alignment. */
export interface StructOptions {
  /** `__attribute__((packed))`. */
  readonly packed?: boolean;
}
