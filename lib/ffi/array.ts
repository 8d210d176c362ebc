import type { CType, Field, Writable } from "./c_type.ts";
import type { Byte, Scalar } from "./scalar.ts";

/** A flexible array member (`entries[]`): the last of its structure, as long as its count says. */
export interface FlexibleArray<Value> extends CType<Value> {
  /** `sizeof` one element. */
  readonly elementSize: number;
  /** The member of the structure that counts the elements; without one they reach to the view's end. */
  readonly count?: string;
  /** Reads `length` elements. */
  readElements(view: DataView, offset: number, length: number): Value;
}

function elementFields(element: CType<unknown>): Field[] {
  return [
    { path: "[0]", offset: 0, size: element.size },
    ...element.fields.map((field) => ({
      ...field,
      path: field.path.startsWith("[") ? `[0]${field.path}` : `[0].${field.path}`,
    })),
  ];
}

function readElements<Value>(
  element: CType<Value>,
  view: DataView,
  offset: number,
  length: number,
): Value[] | Uint8Array {
  if ("byte" in element) {
    // A DataView checks its own bounds; its buffer may go on behind them.
    if (offset + length > view.byteLength) {
      throw new RangeError(
        `Cannot read ${length} bytes at ${offset}: the view has ${view.byteLength} bytes`,
      );
    }
    // The copy keeps the caller free of the view, which may lie over memory that the kernel shares.
    return new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();
  }
  const values = new Array<Value>(length);
  for (let i = 0; i < length; i++) values[i] = element.read(view, offset + i * element.size);
  return values;
}

function writeElements<Value>(
  element: CType<Value>,
  view: DataView,
  offset: number,
  values: ArrayLike<Writable<Value>>,
  path: string,
): void {
  for (let i = 0; i < values.length; i++) {
    element.write(view, offset + i * element.size, values[i], `${path}[${i}]`);
  }
}

function checkList(value: unknown, path: string): void {
  if (!Array.isArray(value) && !(value instanceof Uint8Array)) {
    throw new TypeError(`Cannot write ${path} as ${typeof value}: it is an array, give it a list`);
  }
}

/**
 * `element name[length]`. Of `u8` its value is a `Uint8Array` (a copy), else a list. Writing a list that is
 * shorter leaves the other elements as they are.
 *
 * @throws {RangeError} From `write`, when the list is longer than the array.
 */
export function array(element: Byte, length: number): CType<Uint8Array>;
/** The same for elements of any other type. */
export function array<Value>(element: CType<Value>, length: number): CType<Value[]>;
export function array(element: CType<unknown>, length: number): CType<unknown> {
  return {
    size: element.size * length,
    alignment: element.alignment,
    fields: length === 0 ? [] : elementFields(element),
    read: (view, offset) => readElements(element, view, offset, length),
    write(view, offset, value, path) {
      checkList(value, path);
      const values = value as ArrayLike<Writable<unknown>>;
      if (values.length > length) {
        throw new RangeError(
          `Cannot write ${path} as ${values.length} elements: it has room for ${length}`,
        );
      }
      writeElements(element, view, offset, values, path);
    },
  };
}

/**
 * `element name[]`, the last member of a structure.
 *
 * @param count The member that says how many there are. It bounds `read`, and `write` sets it from the list
 * where it is not given. Without one, the elements reach to the end of the view.
 */
export function flexible(element: Byte, count?: string): FlexibleArray<Uint8Array>;
/** The same for elements of any other type. */
export function flexible<Value>(element: CType<Value>, count?: string): FlexibleArray<Value[]>;
export function flexible(element: CType<unknown>, count?: string): FlexibleArray<unknown> {
  return {
    size: 0,
    alignment: element.alignment,
    elementSize: element.size,
    count,
    fields: elementFields(element),
    read(view, offset) {
      const length = Math.floor((view.byteLength - offset) / element.size);
      return readElements(element, view, offset, length);
    },
    readElements: (view, offset, length) => readElements(element, view, offset, length),
    write(view, offset, value, path) {
      checkList(value, path);
      const values = value as ArrayLike<Writable<unknown>>;
      const room = Math.floor((view.byteLength - offset) / element.size);
      if (values.length > room) {
        throw new RangeError(
          `Cannot write ${path} as ${values.length} elements: the buffer has room for ${room}`,
        );
      }
      writeElements(element, view, offset, values, path);
    },
  };
}

/** The members of {@linkcode bitfields}: bits of one unit, by name. */
export type BitfieldValue<Widths> = { [Name in keyof Widths]: number };

/**
 * Bit-fields that share one unit (`__u8 delivery_mode:3, dest_mode:1, …`), the first in the lowest bits.
 * In a structure it stands as a `hoisted` member: C's paths have no name for the unit.
 *
 * @param widths Bits of each, in the order of the declaration.
 */
export function bitfields<const Widths extends Record<string, number>>(
  unit: Scalar<number>,
  widths: Widths,
): CType<BitfieldValue<Widths>> {
  const members = new Map<string, { first: number; count: number; max: number }>();
  let next = 0;
  for (const [name, count] of Object.entries(widths)) {
    members.set(name, { first: next, count, max: 2 ** count - 1 });
    next += count;
  }
  if (next > unit.size * 8) {
    throw new RangeError(`Cannot lay out ${next} bits as one ${unit.name}: declare a second unit`);
  }
  return {
    size: unit.size,
    alignment: unit.alignment,
    fields: [...members].map(([path, { first, count }]) => ({
      path,
      offset: 0,
      size: unit.size,
      bits: { first, count },
    })),
    read(view, offset) {
      const bits = unit.read(view, offset);
      const value: Record<string, number> = {};
      for (const [name, { first, max }] of members) value[name] = (bits >>> first) & max;
      return value as BitfieldValue<Widths>;
    },
    write(view, offset, value, path) {
      let bits = unit.read(view, offset);
      for (const [name, member] of members) {
        const part = (value as Record<string, number | undefined>)[name];
        if (part === undefined) continue;
        if (!Number.isInteger(part) || part < 0 || part > member.max) {
          throw new RangeError(
            `Cannot write ${path}.${name} as ${part}: it holds 0 to ${member.max} (${member.count} bits)`,
          );
        }
        bits = ((bits & ~(member.max << member.first)) | (part << member.first)) >>> 0;
      }
      unit.write(view, offset, bits, path);
    },
  };
}
