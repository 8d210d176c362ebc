import type {
  CType,
  Field,
  Hoisted,
  Members,
  MembersValue,
  Struct,
  StructOptions,
} from "./c_type.ts";
import type { FlexibleArray } from "./array.ts";

export * from "./array.ts";
export * from "./c_type.ts";
export * from "./scalar.ts";

/**
 * Declares a C structure with the x86-64 ABI's layout: each member at its natural alignment, the whole padded
 * to the largest. It serves as a type itself, for members of other structures.
 *
 * @param name The header's name; `""` for a structure that has none.
 * @param members In the header's order.
 *
 * @example
 * ```ts
 * import { struct, u16, u32, u8 } from "./struct.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const point = struct("point", { tag: u8, x: u16, y: u32 });
 * assertEquals(point.size, 8);
 * assertEquals(point.offsetOf("y"), 4);
 *
 * const view = new DataView(new ArrayBuffer(point.size));
 * point.write(view, 0, { x: 7 });
 * assertEquals(point.read(view), { tag: 0, x: 7, y: 0 });
 * ```
 */
export function struct<Of extends Members>(
  name: string,
  members: Of,
  options: StructOptions = {},
): Struct<MembersValue<Of>> {
  type Value = MembersValue<Of>;
  const { placed, size, alignment, fields } = place(members, {
    packed: options.packed,
    union: false,
  });
  const names = new Set(placed.flatMap((member) => member.names));
  const byPath = new Map(fields.map((field) => [field.path, field]));
  const last = placed.at(-1);

  function locate(path: string): { offset: number; size: number } {
    const field = byPath.get(path.replace(/\[\d+\]/g, "[0]"));
    if (field === undefined) {
      throw new RangeError(`Cannot find ${path} in ${name}: it has no such member`);
    }
    let offset = field.offset;
    for (const { 1: index, index: at } of path.matchAll(/\[(\d+)\]/g)) {
      const array = path.slice(0, at).replace(/\[\d+\]/g, "[0]");
      const whole = byPath.get(array)!.size;
      const stride = byPath.get(`${array}[0]`)!.size;
      // A flexible array has the size 0 and as many elements as its buffer.
      if (whole !== 0 && Number(index) * stride >= whole) {
        throw new RangeError(
          `Cannot find ${path} in ${name}: ${array} has ${whole / stride} elements`,
        );
      }
      offset += Number(index) * stride;
    }
    return { offset, size: field.size };
  }

  function checkRoom(view: DataView, offset: number, verb: string): void {
    if (offset + size <= view.byteLength) return;
    throw new RangeError(
      `Cannot ${verb} ${name} at ${offset} of a view of ${view.byteLength} bytes: it has ${size}`,
    );
  }

  return {
    name,
    size,
    alignment,
    fields,
    offsetOf: (path) => locate(path).offset,
    sizeOf: (path) => locate(path).size,
    sizeFor(elements) {
      if (last === undefined || !isFlexible(last.type)) {
        throw new TypeError(`Cannot size ${name} for elements: it ends in no flexible array`);
      }
      return Math.max(size, last.offset + elements * last.type.elementSize);
    },
    read(view, offset = 0) {
      checkRoom(view, offset, "read");
      return readMembers(placed, view, offset) as Value;
    },
    write(view, offset, value, path = name) {
      checkRoom(view, offset, "write");
      writeMembers(placed, view, offset, checkNames(value, names, path), path);
    },
  };
}

/** A member in its place. */
interface Placed {
  /** Its key in the declaration; of a hoisted one, C knows no such name. */
  readonly name: string;
  /** What it is. */
  readonly type: CType<unknown>;
  /** Bytes from the start of the structure or union. */
  readonly offset: number;
  /** Whether it is anonymous. */
  readonly hoisted: boolean;
  /** What may be given for it in `write`: its name, or the names hoisted out of it. */
  readonly names: readonly string[];
}

const isHoisted = (type: CType<unknown>) => "hoisted" in type;
/** Tells a flexible array member. */
const isFlexible = (type: CType<unknown>): type is FlexibleArray<unknown> => "elementSize" in type;

/** Gives each member its place, as C does. */
function place(
  members: Members,
  { packed = false, union: isUnion }: { packed?: boolean; union: boolean },
): { placed: Placed[]; size: number; alignment: number; fields: Field[] } {
  const placed: Placed[] = [];
  const fields: Field[] = [];
  let end = 0;
  let alignment = 1;
  for (const [name, type] of Object.entries(members)) {
    const memberAlignment = packed ? 1 : type.alignment;
    const offset = isUnion ? 0 : roundUp(end, memberAlignment);
    const hoisted = isHoisted(type);
    const shifted = type.fields.map((field) => ({
      ...field,
      path: hoisted ? field.path : name + (field.path.startsWith("[") ? "" : ".") + field.path,
      offset: offset + field.offset,
      since: field.since ?? type.since,
    }));
    if (!hoisted) fields.push({ path: name, offset, size: type.size, since: type.since });
    fields.push(...shifted);
    const names = hoisted
      ? shifted.map((field) => field.path).filter((path) => !/[.[]/.test(path))
      : [name];
    placed.push({ name, type, offset, hoisted, names });
    end = Math.max(end, offset + type.size);
    alignment = Math.max(alignment, memberAlignment);
  }
  return { placed, size: roundUp(end, alignment), alignment, fields };
}

const roundUp = (value: number, to: number) => Math.ceil(value / to) * to;

/** An object of members, as `write` takes it. */
type Given = Record<string, unknown>;

/**
 * Checks that a value is an object of members that exist.
 *
 * @throws {TypeError} When it is not.
 */
function checkNames(value: unknown, names: ReadonlySet<string>, path: string): Given {
  if (typeof value !== "object" || value === null) {
    throw new TypeError(
      `Cannot write ${path} as ${value}: it is a structure, give it an object of its members`,
    );
  }
  for (const name of Object.keys(value)) {
    if (!names.has(name)) {
      throw new TypeError(
        `Cannot write ${path}.${name}: ${path} has no such member; it has ${[...names].join(", ")}`,
      );
    }
  }
  return value as Given;
}

/** The part of `given` that belongs to one member, or undefined where none does. */
function partFor(member: Placed, given: Given): unknown {
  if (!member.hoisted) return given[member.name];
  const own = member.names.filter((name) => given[name] !== undefined);
  if (own.length === 0) return undefined;
  return Object.fromEntries(own.map((name) => [name, given[name]]));
}

/** Reads every member of a structure at `offset`. */
function readMembers(placed: readonly Placed[], view: DataView, offset: number): Given {
  const value: Given = {};
  for (const { name, type, offset: at, hoisted } of placed) {
    if (hoisted) Object.assign(value, type.read(view, offset + at));
    else if (isFlexible(type) && type.count !== undefined) {
      value[name] = type.readElements(view, offset + at, Number(value[type.count]));
    } else value[name] = type.read(view, offset + at);
  }
  return value;
}

/** Writes the members of a structure that are given. */
function writeMembers(
  placed: readonly Placed[],
  view: DataView,
  offset: number,
  value: Given,
  path: string,
): void {
  let given = value;
  const last = placed.at(-1);
  if (last !== undefined && isFlexible(last.type) && last.type.count !== undefined) {
    given = withCount(given, last.name, last.type.count, path);
  }
  for (const member of placed) {
    const part = partFor(member, given);
    if (part === undefined) continue;
    const name = member.hoisted ? path : `${path}.${member.name}`;
    member.type.write(view, offset + member.offset, part as never, name);
  }
}

function withCount(given: Given, name: string, count: string, path: string): Given {
  const elements = given[name] as ArrayLike<unknown> | undefined;
  if (elements === undefined) return given;
  if (given[count] === undefined) return { ...given, [count]: elements.length };
  if (Number(given[count]) === elements.length) return given;
  throw new RangeError(
    `Cannot write ${path}.${count} as ${
      given[count]
    }: ${path}.${name} has ${elements.length} elements; ` +
      `leave ${count} out to have it set`,
  );
}

function writeUnion(
  placed: readonly Placed[],
  [view, offset, size]: [DataView, number, number],
  given: Given,
  path: string,
): void {
  const parts = placed
    .map((member) => ({ member, part: partFor(member, given) }))
    .filter(({ part }) => part !== undefined);
  const target = new Uint8Array(view.buffer, view.byteOffset + offset, size);
  const before = target.slice();
  let written: { name: string; bytes: Uint8Array; size: number } | undefined;
  for (const { member, part } of parts) {
    const name = member.names.join("/");
    const bytes = before.slice();
    const memberPath = member.hoisted ? path : `${path}.${member.name}`;
    member.type.write(new DataView(bytes.buffer), 0, part as never, memberPath);
    const shared = Math.min(member.type.size, written?.size ?? 0);
    if (written?.bytes.subarray(0, shared).some((byte, i) => byte !== bytes[i])) {
      throw new TypeError(
        `Cannot write ${path}: its members ${written.name} and ${name} share their bytes and say different ` +
          `things; give one of them`,
      );
    }
    if (written === undefined || member.type.size > written.size) {
      written = { name, bytes, size: member.type.size };
    }
  }
  if (written !== undefined) target.set(written.bytes);
}

/**
 * A union: its members share their bytes. Read, it gives all of them. Written, it takes one of them, or
 * several that agree on every byte (so that what was read can be written back).
 */
export function union<Of extends Members>(members: Of): CType<MembersValue<Of>> {
  const { placed, size, alignment, fields } = place(members, { union: true });
  const names = new Set(placed.flatMap((member) => member.names));
  return {
    size,
    alignment,
    fields,
    read: (view, offset) => readMembers(placed, view, offset) as MembersValue<Of>,
    write: (view, offset, value, path) =>
      writeUnion(placed, [view, offset, size], checkNames(value, names, path), path),
  };
}

/** Makes a member anonymous: its members are reached without its name. */
export function hoisted<Value>(type: CType<Value>): Hoisted<Value> {
  return { ...type, hoisted: true };
}
