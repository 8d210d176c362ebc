import { assertEquals } from "@std/assert";
import { isCanonical } from "../../../lib/x86/paging/canonical.ts";

const addresses: [address: bigint, bits: number, expected: boolean][] = [
  [0n, 48, true],
  [0x7fff_ffff_ffffn, 48, true],
  [0x8000_0000_0000n, 48, false],
  [0xffff_7fff_ffff_ffffn, 48, false],
  [0xffff_8000_0000_0000n, 48, true],
  [0xffff_ffff_ffff_ffffn, 48, true],
  [0x8000_0000_0000n, 57, true],
  [0x100_0000_0000_0000n, 57, false],
];

Deno.test.each(addresses)("whether %i is canonical with %i bits", (address, bits, expected) => {
  assertEquals(isCanonical(address, bits), expected);
});
