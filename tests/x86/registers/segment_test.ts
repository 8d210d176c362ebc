import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  descriptorToSegment,
  type Segment,
  SEGMENT_TYPE,
  segmentToDescriptor,
} from "../../../lib/x86/registers/segment.ts";

const bit = fc.nat({ max: 1 });

const attributes = {
  type: fc.nat({ max: 15 }),
  dpl: fc.nat({ max: 3 }),
  db: bit,
  l: bit,
  avl: bit,
  selector: fc.nat({ max: 0xffff }),
  present: fc.constant(1),
  unusable: fc.constant(0),
};

const limits = fc.oneof(
  fc.record({ g: fc.constant(0), limit: fc.nat({ max: 0xf_ffff }) }),
  fc.nat({ max: 0xf_ffff }).map((pages) => ({ g: 1, limit: pages * 4096 + 4095 })),
);

function segments(baseBits: number, s: fc.Arbitrary<number>): fc.Arbitrary<Segment> {
  const base = fc.bigInt(0n, 2n ** BigInt(baseBits) - 1n);
  return fc.tuple(fc.record({ ...attributes, base, s }), limits)
    .map(([segment, limit]) => ({ ...segment, ...limit }));
}

const data: Segment = {
  base: 0n,
  limit: 0xffff_ffff,
  selector: 0x10,
  type: SEGMENT_TYPE.readWriteDataAccessed,
  present: 1,
  dpl: 0,
  db: 1,
  s: 1,
  l: 0,
  g: 1,
  avl: 0,
  unusable: 0,
};

function quadword(bytes: Uint8Array, offset = 0): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset, true);
}

// Descriptors that Linux and rust-vmm boot guests with, decoded by hand from the manual's figure 3-8.
const known: [descriptor: bigint, fields: Partial<Segment>][] = [
  [0x00af_9b00_0000_ffffn, { type: 0xb, s: 1, present: 1, l: 1, db: 0, g: 1, limit: 0xffff_ffff }],
  [0x00cf_9300_0000_ffffn, { type: 0x3, s: 1, present: 1, l: 0, db: 1, g: 1, limit: 0xffff_ffff }],
  [0x008f_8b00_0000_ffffn, { type: 0xb, s: 0, present: 1, l: 0, db: 0, g: 1, limit: 0xffff_ffff }],
  [0x0000_9b00_0000_ffffn, { type: 0xb, s: 1, db: 0, g: 0, limit: 0xffff }],
  [0x1200_f334_5678_0067n, { base: 0x1234_5678n, dpl: 3, type: 3, s: 1, g: 0, limit: 0x67 }],
];

Deno.test.each(known)("descriptors decode as the manual says: %#", (descriptor, fields) => {
  const segment = descriptorToSegment(descriptor, 0x08);
  assertEquals({ ...segment, ...fields }, segment);
  assertEquals(segment.selector, 0x08);
  assertEquals(quadword(segmentToDescriptor(segment)), descriptor);
});

Deno.test("a 64-bit TSS has the upper half of its base in the second quadword", () => {
  const task = { ...data, base: 0x1234_5678_9abc_def0n, s: 0, type: 0xb, db: 0, g: 0, limit: 0x67 };
  const bytes = segmentToDescriptor(task, 16);
  assertEquals(quadword(bytes), 0x9a00_8bbc_def0_0067n);
  assertEquals(quadword(bytes, 8), 0x1234_5678n);
  assertEquals(descriptorToSegment(bytes, 0x10), task);
});

Deno.test("segment → 8-byte descriptor → segment is the identity", () => {
  fc.assert(fc.property(segments(32, bit), (segment) => {
    assertEquals(descriptorToSegment(segmentToDescriptor(segment), segment.selector), segment);
  }));
});

Deno.test("system segment → 16-byte descriptor → segment is the identity", () => {
  fc.assert(fc.property(segments(64, fc.constant(0)), (segment) => {
    assertEquals(descriptorToSegment(segmentToDescriptor(segment, 16), segment.selector), segment);
  }));
});

Deno.test("present descriptor → segment → descriptor is the identity, from bytes and from a bigint", () => {
  fc.assert(fc.property(fc.bigInt(0n, 2n ** 64n - 1n), (random) => {
    const descriptor = random | (1n << 47n);
    const segment = descriptorToSegment(descriptor, 0);
    const bytes = segmentToDescriptor(segment);
    assertEquals(quadword(bytes), descriptor);
    assertEquals(descriptorToSegment(bytes, 0), segment);
  }));
});

Deno.test("the null descriptor gives an unusable segment, and an unusable segment gives it", () => {
  const nothing = descriptorToSegment(0n, 0);
  assertEquals([nothing.unusable, nothing.present], [1, 0]);
  assertEquals(quadword(segmentToDescriptor({ ...data, unusable: 1 })), 0n);
});

Deno.test("bytes in the middle of a buffer are read where they are", () => {
  const table = new Uint8Array(24);
  table.set(segmentToDescriptor(data), 16);
  assertEquals(descriptorToSegment(table.subarray(16), 0x10), data);
});

Deno.test("a limit that the granularity cannot express is refused", () => {
  const encode = (limit: number, g: number) => () => segmentToDescriptor({ ...data, limit, g });
  assertThrows(encode(0x10_0000, 0), RangeError, "needs g = 1");
  assertThrows(encode(0x1_0000, 1), RangeError, "must end in 0xfff");
  assertThrows(encode(0x1_0000_0fff, 1), RangeError, "at most 32 bits");
  assertThrows(encode(-1, 0), RangeError, "-0x1");
});

Deno.test("fields that are too wide for a descriptor are refused", () => {
  const encode = (fields: Partial<Segment>, size?: 8 | 16) => () =>
    segmentToDescriptor({ ...data, ...fields }, size);
  assertThrows(encode({ type: 16 }), RangeError, "Cannot encode type as 16");
  assertThrows(encode({ dpl: 4 }), RangeError, "Cannot encode dpl as 4");
  assertThrows(encode({ g: 2 }), RangeError, "Cannot encode g as 2");
  assertThrows(encode({ base: 1n << 32n }), RangeError, "descriptors of 8 bytes have 32 bits");
  assertThrows(encode({ base: 1n << 64n, s: 0 }, 16), RangeError, "have 64 bits");
  assertThrows(encode({}, 16), RangeError, "only system segments");
});

Deno.test("what is not a descriptor is refused", () => {
  assertThrows(() => descriptorToSegment(new Uint8Array(7), 0), RangeError, "7 bytes");
  assertThrows(() => descriptorToSegment(1n << 64n, 0), RangeError, "more than 64 bits");
});
