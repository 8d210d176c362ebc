import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  array,
  bitfields,
  flexible,
  hoisted,
  pointer,
  s16,
  s32,
  s64,
  s8,
  since,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  u8UpTo,
  union,
} from "../../lib/ffi/struct.ts";

const viewOf = (size: number) => new DataView(new ArrayBuffer(size));

Deno.test("a structure lays its members out at their natural alignment and pads its end", () => {
  const mixed = struct("mixed", { a: u8, b: u64, c: u16, d: u8 });
  assertEquals([mixed.size, mixed.alignment], [24, 8]);
  assertEquals(mixed.fields.map(({ path, offset, size }) => [path, offset, size]), [
    ["a", 0, 1],
    ["b", 8, 8],
    ["c", 16, 2],
    ["d", 18, 1],
  ]);
});

Deno.test("a packed structure has no gaps", () => {
  const packed = struct("packed", { limit: u16, base: u64 }, { packed: true });
  assertEquals([packed.size, packed.alignment, packed.offsetOf("base")], [10, 1, 2]);
});

Deno.test("a union starts all its members at once and is as large as the largest", () => {
  const outer = struct("outer", { tag: u8, u: union({ small: u16, large: array(u32, 3) }) });
  assertEquals(outer.size, 16);
  assertEquals([outer.offsetOf("u.small"), outer.offsetOf("u.large[2]")], [4, 12]);
});

Deno.test("a hoisted member's members have no name of it in their paths and values", () => {
  const outer = struct("outer", { before: u32, either: hoisted(union({ irq: u32, status: s32 })) });
  assertEquals(outer.offsetOf("status"), 4);
  const view = viewOf(outer.size);
  outer.write(view, 0, { status: -1 });
  assertEquals(outer.read(view), { before: 0, irq: 0xffff_ffff, status: -1 });
});

Deno.test("paths lead into arrays of structures, and stop at their ends", () => {
  const point = struct("point", { x: u16, y: u32 });
  const line = struct("line", { id: u64, points: array(point, 2) });
  assertEquals(line.offsetOf("points[1].y"), 8 + 8 + 4);
  assertEquals(line.sizeOf("points"), 16);
  assertThrows(() => line.offsetOf("points[2].y"), RangeError, "points has 2 elements");
  assertThrows(() => line.offsetOf("points[0].z" as "id"), RangeError, "no such member");
});

Deno.test("every scalar keeps its smallest and largest value and refuses those beyond", () => {
  for (const type of [u8, s8, u16, s16, u32, s32]) {
    const one = struct("one", { value: type });
    const view = viewOf(one.size);
    for (const value of [type.min, type.max]) {
      one.write(view, 0, { value });
      assertEquals(one.read(view).value, value);
    }
    for (const value of [type.min - 1, type.max + 1]) {
      assertThrows(() => one.write(view, 0, { value }), RangeError, `one.value as ${value}`);
    }
  }
  for (const type of [u64, s64, pointer]) {
    const one = struct("one", { value: type });
    const view = viewOf(one.size);
    for (const value of [type.min, type.max]) {
      one.write(view, 0, { value });
      assertEquals(one.read(view).value, value);
    }
    for (const value of [type.min - 1n, type.max + 1n]) {
      assertThrows(() => one.write(view, 0, { value }), RangeError, `one.value as ${value}`);
    }
  }
});

Deno.test("write names the place and what it holds", () => {
  const inner = struct("inner", { dpl: u8UpTo(3) });
  const outer = struct("outer", { list: array(inner, 2) });
  assertThrows(
    () => outer.write(viewOf(outer.size), 0, { list: [{ dpl: 0 }, { dpl: 4 }] }),
    RangeError,
    "Cannot write outer.list[1].dpl as 4: it holds 0 to 3 (u8)",
  );
});

const small = struct("small", { number: u32, big: u64, bytes: array(u8, 4) });
const WRONG: [what: string, value: unknown, message: string][] = [
  ["a fraction", { number: 1.5 }, "small.number as 1.5: it is a u32"],
  ["a bigint for 32 bits", { number: 1n }, "small.number as 1n"],
  ["a string", { number: "1" }, "small.number as 1"],
  ["an unsafe number for 64 bits", { big: 2 ** 53 }, "takes a bigint or a safe integer"],
  ["a member that does not exist", { nubmer: 1 }, "small has no such member; it has number, big"],
  ["something that is no object", 7, "small as 7: it is a structure"],
  ["a number for an array", { bytes: 1 }, "small.bytes as number: it is an array"],
];
for (const [what, value, message] of WRONG) {
  Deno.test(`write refuses ${what}`, () => {
    const write = () => small.write(viewOf(small.size), 0, value as { number: number });
    assertThrows(write, TypeError, message);
  });
}

Deno.test("write leaves what is not given, and refuses a list that is too long", () => {
  const view = viewOf(small.size);
  small.write(view, 0, { number: 1, big: 2, bytes: [1, 2, 3, 4] });
  small.write(view, 0, { bytes: [9], big: undefined });
  assertEquals(small.read(view), { number: 1, big: 2n, bytes: new Uint8Array([9, 2, 3, 4]) });
  assertThrows(() => small.write(view, 0, { bytes: [1, 2, 3, 4, 5] }), RangeError, "room for 4");
});

Deno.test("nothing reaches past the end of the view, whatever its buffer has there", () => {
  const view = new DataView(new ArrayBuffer(64), 0, small.size - 1);
  const message = "small at 0 of a view of 23 bytes: it has 24";
  assertThrows(() => small.read(view), RangeError, `Cannot read ${message}`);
  assertThrows(() => small.write(view, 0, {}), RangeError, `Cannot write ${message}`);
  const mask = struct("mask", { len: u32, sigset: flexible(u8, "len") });
  mask.write(view, 0, { len: 23 });
  assertThrows(() => mask.read(view), RangeError, "the view has 23 bytes");
});

Deno.test("bytes that were read do not change with the view", () => {
  const view = viewOf(small.size);
  const { bytes } = small.read(view);
  view.setUint8(small.offsetOf("bytes"), 1);
  assertEquals(bytes[0], 0);
});

Deno.test("read and write work anywhere in a view over a part of a buffer", () => {
  const buffer = new ArrayBuffer(64);
  const view = new DataView(buffer, 8, 48);
  small.write(view, 16, { bytes: [1, 2, 3, 4] });
  assertEquals(new Uint8Array(buffer)[8 + 16 + 16], 1);
  assertEquals(small.read(view, 16).bytes, new Uint8Array([1, 2, 3, 4]));
});

Deno.test("what was read from a union can be written back", () => {
  const chip = struct("chip", { u: union({ raw: array(u8, 4), word: u32, half: u16 }) });
  const view = viewOf(chip.size);
  chip.write(view, 0, { u: { word: 0x01020304 } });
  const value = chip.read(view);
  assertEquals(value, {
    u: { raw: new Uint8Array([4, 3, 2, 1]), word: 0x01020304, half: 0x0304 },
  });
  chip.write(view, 0, value);
  assertEquals(chip.read(view), value);
});

Deno.test("members of a union that contradict each other are refused", () => {
  const chip = struct("chip", { u: union({ raw: array(u8, 4), word: u32 }) });
  const view = viewOf(chip.size);
  assertThrows(
    () => chip.write(view, 0, { u: { raw: [1, 2, 3, 4], word: 7 } }),
    TypeError,
    "its members raw and word share their bytes and say different things",
  );
  assertEquals(chip.read(view).u.word, 0);
});

Deno.test("bit-fields share their unit and keep each other's bits", () => {
  const entry = struct("entry", { bits: hoisted(bitfields(u8, { mode: 3, mask: 1, rest: 4 })) });
  const view = viewOf(entry.size);
  view.setUint8(0, 0xff);
  entry.write(view, 0, { mode: 2, mask: 0 });
  assertEquals(view.getUint8(0), 0b1111_0_010);
  assertEquals(entry.read(view), { mode: 2, mask: 0, rest: 15 });
  assertThrows(() => entry.write(view, 0, { mode: 8 }), RangeError, "entry.mode as 8: it holds 0");
  assertThrows(() => bitfields(u8, { a: 5, b: 4 }), RangeError, "9 bits as one u8");
});

const list = struct("list", { count: u32, pad: u32, entries: flexible(u64, "count") });

Deno.test("a flexible array is as long as its count, which write sets", () => {
  assertEquals([list.size, list.sizeFor(3), list.offsetOf("entries[2]")], [8, 32, 24]);
  const view = viewOf(list.sizeFor(3));
  list.write(view, 0, { entries: [1n, 2n] });
  assertEquals(list.read(view), { count: 2, pad: 0, entries: [1n, 2n] });
});

Deno.test("a flexible array refuses a count that is not its length, and more than the buffer holds", () => {
  const view = viewOf(list.sizeFor(2));
  assertThrows(
    () => list.write(view, 0, { count: 3, entries: [1n] }),
    RangeError,
    "Cannot write list.count as 3: list.entries has 1 elements",
  );
  assertThrows(() => list.write(view, 0, { entries: [1n, 2n, 3n] }), RangeError, "has room for 2");
  list.write(view, 0, { count: 3 });
  assertThrows(() => list.read(view), RangeError);
});

Deno.test("a flexible array without a count reaches to the end of the view", () => {
  const named = struct("named", { id: u16, name: flexible(u8) });
  const view = viewOf(6);
  named.write(view, 0, { name: [1, 2, 3, 4] });
  assertEquals(named.read(view).name, new Uint8Array([1, 2, 3, 4]));
  assertThrows(() => small.sizeFor(1), TypeError, "ends in no flexible array");
});

Deno.test("a version marks a member and all that is in it", () => {
  const inner = struct("inner", { a: u8, b: since("6.12", u8) });
  const outer = struct("outer", { old: u8, young: since("6.8", inner) });
  const marks = outer.fields.map(({ path, since }) => [path, since]);
  assertEquals(marks, [
    ["old", undefined],
    ["young", "6.8"],
    ["young.a", "6.8"],
    ["young.b", "6.12"],
  ]);
});

Deno.test("what is written is what is read, for any values", () => {
  const all = struct("all", {
    a: u8,
    b: s16,
    nested: struct("", { c: s64, d: array(u32, 2) }),
    e: u64,
    f: array(u8, 3),
  });
  const value = fc.record({
    a: fc.integer({ min: u8.min, max: u8.max }),
    b: fc.integer({ min: s16.min, max: s16.max }),
    nested: fc.record({
      c: fc.bigInt({ min: s64.min, max: s64.max }),
      d: fc.array(fc.integer({ min: 0, max: u32.max }), { minLength: 2, maxLength: 2 }),
    }),
    e: fc.bigInt({ min: u64.min, max: u64.max }),
    f: fc.uint8Array({ minLength: 3, maxLength: 3 }),
  });
  fc.assert(fc.property(value, (given) => {
    const view = viewOf(all.size);
    all.write(view, 0, given);
    assertEquals(all.read(view), given);
  }));
});

Deno.test("the type of a structure names its members, no fewer and no others, at every depth", () => {
  const inner = struct("inner", { p: u8, q: u64 });
  const exact: Struct<{ a: number; in: { p: number; q: bigint } }> = struct("outer", {
    a: u32,
    in: inner,
  });
  // @ts-expect-error The type lacks the member `in`.
  const fewer: Struct<{ a: number }> = struct("outer", { a: u32, in: inner });
  // @ts-expect-error The type lacks a member of a member.
  const fewerInside: Struct<{ a: number; in: { p: number } }> = struct("outer", {
    a: u32,
    in: inner,
  });
  // @ts-expect-error The table lacks the member `b`.
  const more: Struct<{ a: number; b: bigint }> = struct("outer", { a: u32 });
  // @ts-expect-error `q` reads as a bigint.
  const other: Struct<{ p: number; q: number }> = struct("inner", { p: u8, q: u64 });
  const sizes = [exact, fewer, fewerInside, more, other].map(({ size }) => size);
  assertEquals(sizes, [24, 24, 24, 4, 16]);
});
