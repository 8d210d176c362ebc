import { checkNames, isFlexible, place, readMembers, writeMembers } from "./members.ts";
import type { Members, MembersValue, Struct, StructOptions } from "./struct_types.ts";

export * from "./array.ts";
export * from "./c_type.ts";
export { hoisted, union } from "./members.ts";
export * from "./scalar.ts";
export type * from "./struct_types.ts";

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
