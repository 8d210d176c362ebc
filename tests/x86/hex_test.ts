import { assertEquals } from "@std/assert";
import { hex } from "../../lib/x86/hex.ts";

Deno.test("hex writes numbers and bigints alike, padded, with the sign in front", () => {
  assertEquals([hex(0), hex(255), hex(255n), hex(-1), hex(-1n)], [
    "0x0",
    "0xff",
    "0xff",
    "-0x1",
    "-0x1",
  ]);
  assertEquals(hex(0x1003n, 16), "0x0000000000001003");
});
