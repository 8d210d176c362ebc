import { sizeInBytes } from "../../../lib/machine/memory/size.ts";
import { assertEquals, assertThrows } from "@std/assert";

Deno.test("a size is a number of bytes, or text with a binary unit", () => {
  const sizes: [number | string, number][] = [
    [1, 1],
    [4096, 4096],
    ["4096", 4096],
    ["4K", 4096],
    ["2M", 2 ** 21],
    ["3G", 3 * 2 ** 30],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ];
  for (const [size, bytes] of sizes) assertEquals(sizeInBytes(size), bytes);
});

Deno.test("what is no size is refused, with what is one", () => {
  const none = [
    0,
    -1,
    0.5,
    NaN,
    Infinity,
    2 ** 53,
    "",
    "K",
    "4k",
    "4KB",
    "0x1000",
    "1.5M",
    "-4K",
    " 4K",
    "9007199254740993",
  ];
  for (const size of none) {
    assertThrows(() => sizeInBytes(size), RangeError, 'such as "4K", "2M" or "1G"', String(size));
  }
});
