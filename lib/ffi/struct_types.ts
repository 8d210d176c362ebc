import type { CType, Field, Writable } from "./c_type.ts";

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

/** A C structure: its layout as data, and its bytes as a plain object and back. */
export interface Struct<Value> extends StructLayout, CType<Value> {
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
