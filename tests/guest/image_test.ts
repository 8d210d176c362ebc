import { assertEquals, assertThrows } from "@std/assert";
import { firstFrame, markedLine } from "./marked_line.ts";
import { Image } from "../../lib/guest/image.ts";
import type { ImageInit, ImageSegment } from "../../lib/guest/image_init.ts";

const segment = (address: number, size: number, ...bytes: number[]): ImageSegment => ({
  address: BigInt(address),
  size,
  bytes: new Uint8Array(bytes),
});

Deno.test("a flat binary starts at its origin unless another entry is given", () => {
  const bytes = new Uint8Array([0x90, 0xf4]);
  const image = Image.fromBytes(bytes, { origin: 0x7c00 });
  assertEquals([image.origin, image.entry, image.bits, image.size], [0x7c00n, 0x7c00n, 16, 2]);
  assertEquals(Image.fromBytes(bytes, { origin: 0x7c00, entry: 0x7c01 }).entry, 0x7c01n);
  bytes[0] = 0;
  assertEquals(image.bytes[0], 0x90);
});

Deno.test("a flat binary may bring symbols", () => {
  const image = Image.fromBytes(new Uint8Array(4), { origin: 0, symbols: { main: 2 } });
  assertEquals(image.symbol("main"), 2n);
  assertEquals(image.symbolAt(3), { name: "main", offset: 1 });
});

const REFUSED: [what: string, make: () => Image, error: typeof TypeError, message: string][] = [
  [
    "no bytes",
    () => Image.fromBytes(new Uint8Array(), { origin: 0 }),
    RangeError,
    "it has no bytes",
  ],
  [
    "a text for bytes",
    () => Image.fromBytes("hlt" as unknown as Uint8Array, { origin: 0 }),
    TypeError,
    "give a Uint8Array",
  ],
  [
    "a negative origin",
    () => Image.fromBytes(new Uint8Array(1), { origin: -1 }),
    RangeError,
    "Cannot use -1 as an image's",
  ],
  [
    "a fraction as its entry",
    () => Image.fromBytes(new Uint8Array(1), { origin: 0, entry: 0.5 }),
    RangeError,
    "Cannot use 0.5 as an image's entry",
  ],
  ["no options", () => Image.fromBytes(new Uint8Array(1), undefined as never), TypeError, "origin"],
  [
    "code of 8 bits",
    () => Image.fromBytes(new Uint8Array(1), { origin: 0, bits: 8 as 16 }),
    RangeError,
    "Cannot make an image of 8 bits",
  ],
  [
    "segments that overlap",
    () => new Image({ segments: [segment(0x2000, 4, 1), segment(0x1000, 0x1001, 1)] }),
    RangeError,
    "its segments at 0x1000 (0x1001 bytes) and 0x2000 overlap",
  ],
  [
    "a segment below its origin",
    () => new Image({ segments: [segment(0x1000, 1, 1)], origin: 0x2000n }),
    RangeError,
    "below it",
  ],
];
for (const [what, make, error, message] of REFUSED) {
  Deno.test(`an image with ${what} is refused`, () => {
    assertThrows(make, error, message);
  });
}

Deno.test("segments are sorted, gaps are zeros, and what is zero at the end is only counted", () => {
  const image = new Image({
    segments: [segment(0x1008, 8, 3), segment(0x1000, 4, 1, 2)],
  });
  assertEquals(image.segments.map(({ address }) => address), [0x1000n, 0x1008n]);
  assertEquals([image.origin, image.size], [0x1000n, 0x10]);
  assertEquals([...image.bytes], [1, 2, 0, 0, 0, 0, 0, 0, 3]);
});

Deno.test("an image that spreads too far has segments and no bytes in one piece", () => {
  const image = new Image({ segments: [segment(0, 1, 1), segment(2 ** 40, 1, 1)] });
  assertEquals(image.segments.length, 2);
  assertThrows(() => image.bytes, RangeError, "take its segments");
});

const PARTS: ImageInit = {
  segments: [segment(0x100, 0x10, 1)],
  labels: { main: 0x100n, "main.loop": 0x104n, message: 0x108n },
  constants: { port: 0x105n },
};

Deno.test("an unknown symbol is refused with the most similar names", () => {
  const image = new Image(PARTS);
  assertEquals(image.symbol("port"), 0x105n);
  assertThrows(() => image.symbol("mesage"), RangeError, "near it are message");
  assertThrows(
    () => new Image({ segments: PARTS.segments }).symbol("main"),
    RangeError,
    "the image has no symbols",
  );
});

Deno.test("a name that every JavaScript object has is no symbol", () => {
  const image = new Image(PARTS);
  assertEquals(image.symbols.constructor, undefined);
  assertThrows(() => image.symbol("toString"), RangeError);
});

Deno.test("an address is told by the label before it, constants aside, within the image", () => {
  const image = new Image(PARTS);
  assertEquals(image.symbolAt(0x100), { name: "main", offset: 0 });
  assertEquals(image.symbolAt(0x107), { name: "main.loop", offset: 3 });
  assertEquals(image.symbolAt(0x10f), { name: "message", offset: 7 });
  assertEquals(image.symbolAt(0x110), undefined);
  assertEquals(image.symbolAt(0xff), undefined);
});

const UPPER = 0xffff_ffff_8010_0000n;

Deno.test("what lies elsewhere than its code runs is known by the addresses of the code", () => {
  const image = new Image({
    segments: [
      { ...segment(0, 4, 1, 2), address: UPPER, loadAddress: 0x10_0000n },
      segment(0x1000, 1, 3),
    ],
    labels: { low: 0x1000n, kernel: UPPER, "kernel.data": UPPER + 2n },
  });
  assertEquals([image.origin, image.size], [0x1000n, 0xf_f004]);
  assertEquals([image.bytes[0], ...image.bytes.slice(-2)], [3, 1, 2]);
  assertEquals(image.symbolAt(UPPER + 1n), { name: "kernel", offset: 1 });
  assertEquals(image.symbolAt(UPPER + 3n), { name: "kernel.data", offset: 1 });
  assertEquals(image.symbolAt(0x10_0001), undefined);
  assertEquals(image.segmentAt(UPPER + 3n)?.size, 4);
});

Deno.test("a number that is not exact is no address", () => {
  assertThrows(
    () => Image.fromBytes(new Uint8Array(1), { origin: 2 ** 63 }),
    RangeError,
    "above 2^53 only a bigint is exact",
  );
  assertThrows(() => Image.fromBytes(new Uint8Array(1), { origin: 2n ** 64n }), RangeError);
  assertEquals(Image.fromBytes(new Uint8Array(1), { origin: UPPER }).entry, UPPER);
});

Deno.test("an unknown symbol is told at the line that asks for it", () => {
  const error = assertThrows(() => new Image(PARTS).symbol("nosuch")) as Error; // ; @nosuch
  assertEquals(firstFrame(error), `${import.meta.url}:${markedLine(import.meta.url, "nosuch")}`);
});
