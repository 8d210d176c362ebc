import { assertEquals, assertThrows } from "@std/assert";
import { checkAddress } from "../../lib/guest/address.ts";

Deno.test("an address is any whole number of 64 bits, and exact", () => {
  for (const address of [0, 0x7c00, Number.MAX_SAFE_INTEGER, 2n ** 53n, 2n ** 64n - 1n]) {
    assertEquals(checkAddress(address), BigInt(address));
  }
});

const REFUSED: [address: unknown, error: typeof TypeError, message: string][] = [
  [undefined, TypeError, "Cannot use undefined as a stack: give a number, a bigint, or the name"],
  ["start", TypeError, "Cannot use start as a stack"],
  [-1, RangeError, "Cannot use -1 as a stack: it is not a whole number from 0 to 2^64 - 1"],
  [-1n, RangeError, "Cannot use -1 as a stack"],
  [1.5, RangeError, "Cannot use 1.5 as a stack"],
  [NaN, RangeError, "Cannot use NaN as a stack"],
  [2 ** 53, RangeError, "above 2^53 only a bigint is exact"],
  [2n ** 64n, RangeError, "it is not a whole number from 0 to 2^64 - 1"],
];
for (const [address, error, message] of REFUSED) {
  Deno.test(`${typeof address} ${address} is no address`, () => {
    assertThrows(() => checkAddress(address, "a stack"), error, message);
  });
}
