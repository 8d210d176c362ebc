import { checkNames, checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { BYTE_BITS, ones } from "./bytes.ts";
import { hex } from "../x86/hex.ts";
import { noneOfThatName } from "../x86/nearest_names.ts";

const MOST_BITS = 32;

/**
 * What the guest's accesses do to a register or a field, in the words of data sheets: `"rw"`, `"ro"` (writes are
 * ignored), `"wo"` (reads as 0), `"w1c"` (a one that is written clears the bit), `"rc"` (a read clears it).
 */
export type RegisterAccessKind = "rw" | "ro" | "wo" | "w1c" | "rc";

const ACCESS_KINDS: readonly RegisterAccessKind[] = ["rw", "ro", "wo", "w1c", "rc"];

/** Where a field lies: its bit, or its highest and lowest bit, as data sheets write `[7:4]`. */
export type FieldBits = number | readonly [high: number, low: number];

/** A field of a register: its place, or that with what accesses do to it. */
export type FieldDefinition =
  | FieldBits
  | { readonly bits: FieldBits; readonly access: RegisterAccessKind };

/** A register of a {@linkcode RegisterMap}. */
export interface RegisterDefinition {
  /** Bytes from the map's base. Two registers may have one offset, where one is `"ro"` and the other `"wo"`. */
  readonly offset: number;
  /** Bytes that it has: the width of its accesses. Default 1 at ports, 4 in memory. */
  readonly size?: 1 | 2 | 4;
  /** Its value after reset. Default 0. */
  readonly reset?: number;
  /** What accesses do to it, where a field says nothing else. Default `"rw"`. */
  readonly access?: RegisterAccessKind;
  /** Its fields by name. Bits that no field has are reserved. */
  readonly fields?: Readonly<Record<string, FieldDefinition>>;
}

/** The registers of a map, by name. */
export type RegisterDefinitions = Readonly<Record<string, RegisterDefinition>>;

/** The names of a register's fields. */
export type FieldName<Register> = Register extends { readonly fields: infer Fields }
  ? keyof Fields & string
  : never;

/** A register's value: a number, or fields by name; those left out are 0 when set, and any when expected. */
export type RegisterContent<Register extends RegisterDefinition> =
  | number
  | { readonly [Name in FieldName<Register>]?: number };

/** A field with its register: `"STATUS.READY"`. */
export type FieldPath<Registers extends RegisterDefinitions> = {
  [Name in keyof Registers & string]: `${Name}.${FieldName<Registers[Name]>}`;
}[keyof Registers & string];

/** A register with its fields' places worked out. */
export interface Register {
  readonly name: string;
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  readonly reset: number;
  readonly fields: ReadonlyMap<string, { readonly shift: number; readonly mask: number }>;
  /** Bits that a write sets, that a written one clears, that a read clears, and that read as 0. */
  readonly writable: number;
  readonly writeOneToClear: number;
  readonly readToClear: number;
  readonly writeOnly: number;
  /** Bits without a field, of a register with fields. */
  readonly reserved: number;
  readonly canRead: boolean;
  readonly canWrite: boolean;
}

/** Where a register map is, and what it has. */
export interface RegisterMapOptions<Registers extends RegisterDefinitions> {
  /** The first I/O port; or give `address`. */
  readonly port?: number;
  /** The first guest physical address. */
  readonly address?: number;
  /** Its interrupt request line, which `RegisterMap.interrupt` sets. */
  readonly irq?: number;
  /** Its registers. */
  readonly registers: Registers;
  /**
   * What reserved bits read as: 0 by default, or bits at random from a seed, for drivers that must not care about them.
   */
  readonly reserved?: "zero" | { readonly seed: number };
}

/** The names of a map's options. */
export const MAP_NAMES: NamesOf<RegisterMapOptions<RegisterDefinitions>> = {
  port: "value",
  address: "value",
  irq: "value",
  registers: "value",
  reserved: "value",
};

const REGISTER_NAMES: NamesOf<RegisterDefinition> = {
  offset: "value",
  size: "value",
  reset: "value",
  access: "value",
  fields: "value",
};

const FIELD_NAMES: NamesOf<Exclude<FieldDefinition, FieldBits>> = {
  bits: "value",
  access: "value",
};

/** The bits of so many bytes. */
export function bitsOf(size: number): number {
  return BYTE_BITS * size;
}

/**
 * Works out a register.
 *
 * @param path What it is called in messages.
 * @throws {RangeError} When it cannot be.
 */
export function registerOf(
  path: string,
  name: string,
  definition: RegisterDefinition,
  defaultSize: 1 | 4,
): Register {
  checkOptions(`make ${path}`, definition, REGISTER_NAMES);
  const { offset, size = defaultSize, reset = 0, access = "rw", fields = {} } = definition;
  if (!Number.isSafeInteger(offset) || offset < 0 || ![1, 2, 4].includes(size)) {
    throw new RangeError(
      `Cannot make ${path}: it has an offset from 0 on, and 1, 2 or 4 bytes, not ${offset} and ${size}`,
    );
  }
  const places = new Map<string, { shift: number; mask: number }>();
  const masks: Record<RegisterAccessKind, number> = { rw: 0, ro: 0, wo: 0, w1c: 0, rc: 0 };
  let taken = 0;
  checkNames(`make ${path} with fields`, fields);
  checkAccess(path, access);
  for (const [field, definition] of Object.entries(fields)) {
    const isPlace = typeof definition === "number" || Array.isArray(definition);
    const given: { readonly bits: FieldBits; readonly access?: RegisterAccessKind } = isPlace
      ? { bits: definition as FieldBits }
      : definition as Exclude<FieldDefinition, FieldBits>;
    checkOptions(`make ${path}.${field}`, given, FIELD_NAMES);
    const kind = given.access ?? access;
    checkAccess(`${path}.${field}`, kind);
    const place = placeOf(`${path}.${field}`, given.bits, bitsOf(size));
    if ((taken & place.mask) !== 0) {
      throw new RangeError(`Cannot make ${path}: its field ${field} overlaps another`);
    }
    taken |= place.mask;
    masks[kind] |= place.mask;
    places.set(field, place);
  }
  const rest = ones(size) & ~taken;
  // Without fields the whole register is one; with them, what no field has is reserved.
  if (places.size === 0) masks[access] |= rest;
  else if (access === "rw") masks.rw |= rest;
  return {
    name,
    offset,
    size,
    reset: fitting(`the reset value of ${path}`, reset, bitsOf(size)),
    fields: places,
    writable: (masks.rw | masks.wo) >>> 0,
    writeOneToClear: masks.w1c >>> 0,
    readToClear: masks.rc >>> 0,
    writeOnly: masks.wo >>> 0,
    reserved: places.size === 0 ? 0 : rest >>> 0,
    canRead: access !== "wo",
    canWrite: access !== "ro" || (masks.rw | masks.wo | masks.w1c) !== 0,
  };
}

function checkAccess(path: string, access: RegisterAccessKind): void {
  if (ACCESS_KINDS.includes(access)) return;
  throw new RangeError(
    `Cannot make ${path}: its access ${JSON.stringify(access)} is none of ${
      ACCESS_KINDS.join(", ")
    }`,
  );
}

function placeOf(path: string, bits: FieldBits, width: number): { shift: number; mask: number } {
  const [high, low] = Array.isArray(bits) ? bits : [bits, bits];
  const isPlace = Number.isInteger(high) && Number.isInteger(low) && low >= 0 && high >= low &&
    high < width;
  if (!isPlace) {
    throw new RangeError(
      `Cannot make ${path}: bits ${high} to ${low} are not a field of a register of ${width} bits`,
    );
  }
  const count = high - low + 1;
  const all = count === MOST_BITS ? ones(MOST_BITS / BYTE_BITS) : 2 ** count - 1;
  return { shift: low, mask: (all << low) >>> 0 };
}

/** The place of a field. @throws {RangeError} When the register has none of that name. */
export function fieldOf(register: Register, field: string): { shift: number; mask: number } {
  const place = register.fields.get(field);
  if (place !== undefined) return place;
  const names = [...register.fields.keys()];
  throw new RangeError(
    `Cannot find the field ${field} of ${register.name}: ${
      names.length === 0 ? "it has no fields" : noneOfThatName(field, names)
    }`,
  );
}

/** A field's value, moved to its place. @throws {RangeError} When it does not fit. */
export function placed(
  path: string,
  { shift, mask }: { shift: number; mask: number },
  value: number,
): number {
  const most = mask >>> shift;
  if (!Number.isInteger(value) || value < 0 || value > most) {
    throw new RangeError(`Cannot set ${path} as ${String(value)}: it takes 0 to ${hex(most)}`);
  }
  return (value << shift) >>> 0;
}

/** The value. @throws {RangeError} When it has not so many bits. */
export function fitting(what: string, value: number, bits: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return value;
  throw new RangeError(
    `Cannot take ${String(value)} as ${what}: it is not a whole number of ${bits} bits`,
  );
}

/** A value with the bits that it says something of, and in words. @throws {RangeError | TypeError} When it is none. */
export function contentOf(
  register: Register,
  given: number | Readonly<Record<string, number | undefined>>,
): { value: number; mask: number; text: string } {
  if (typeof given === "number") {
    const value = fitting(register.name, given, bitsOf(register.size));
    return { value, mask: ones(register.size), text: hex(value) };
  }
  const entries = Object.entries(given ?? {});
  if (entries.length === 0) {
    throw new TypeError(
      `Cannot take ${String(given)} as ${register.name}: give a number, or fields by name`,
    );
  }
  let value = 0;
  let mask = 0;
  for (const [name, field] of entries) {
    const place = fieldOf(register, name);
    value |= placed(`${register.name}.${name}`, place, field!);
    mask |= place.mask;
  }
  const text = entries.map(([name, field]) => `${name} ${hex(field!)}`).join(", ");
  return { value: value >>> 0, mask: mask >>> 0, text: `(${text})` };
}
