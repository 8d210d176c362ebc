import {
  littleEndianBytes,
  littleEndianInteger,
  repeated,
} from "../../../lib/machine/exits/answer_bytes.ts";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

Deno.test("an integer is its bytes, and the bytes are the integer", () => {
  assertEquals(littleEndianBytes(0x1234, 2), new Uint8Array([0x34, 0x12]));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      (size, any) => {
        const value = BigInt.asUintN(8 * size, any);
        const bytes = littleEndianBytes(value, size);
        assertEquals(bytes.length, size);
        assertEquals(littleEndianInteger(bytes), value);
      },
    ),
  );
});

Deno.test("a value that does not fit is refused", () => {
  for (const value of [256, 256n, -1, -1n, 0.5, NaN, 2 ** 53]) {
    assertThrows(() => littleEndianBytes(value, 1), RangeError, "is not a whole number of 8 bits");
  }
});

Deno.test("bytes are repeated", () => {
  assertEquals(repeated(new Uint8Array([1, 2]), 2), new Uint8Array([1, 2, 1, 2]));
});
