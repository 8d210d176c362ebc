import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  extendedToNumber,
  numberToExtended,
} from "../../../lib/x86/registers/extended_precision.ts";

const CASES: [number, bigint][] = [
  [0, 0n],
  [-0, 1n << 79n],
  [1, 0x3fff_8000_0000_0000_0000n],
  [-2.5, 0xc000_a000_0000_0000_0000n],
  [Math.PI, 0x4000_c90f_daa2_2168_c000n],
  [Infinity, 0x7fff_8000_0000_0000_0000n],
  [-Infinity, 0xffff_8000_0000_0000_0000n],
  [Number.MIN_VALUE, 0x3bcd_8000_0000_0000_0000n],
  [Number.MAX_VALUE, 0x43fe_ffff_ffff_ffff_f800n],
  [2 ** -1022, 0x3c01_8000_0000_0000_0000n],
];

Deno.test("extended precision: doubles have their exact equals", () => {
  for (const [number, bits] of CASES) {
    assertEquals(numberToExtended(number), bits, String(number));
    assert(Object.is(extendedToNumber(bits), number), String(number));
  }
  assertEquals(numberToExtended(NaN), 0x7fff_c000_0000_0000_0000n);
  assertEquals(extendedToNumber(0x7fff_c000_0000_0000_0001n), NaN);
});

Deno.test("extended precision: every double comes back", () => {
  fc.assert(fc.property(fc.double(), (number) => {
    assert(Object.is(extendedToNumber(numberToExtended(number)), number));
  }));
});

Deno.test("extended precision: what no double has is rounded once, to the nearest, of two to the even one", () => {
  const one = 0x3fff_8000_0000_0000_0000n;
  const cases: [bigint, number][] = [
    [one | 0x400n, 1],
    [one | 0x401n, 1 + 2 ** -52],
    [one | 0xc00n, 1 + 2 ** -51],
    // Beyond the greatest double, and below the least.
    [0x43fe_ffff_ffff_ffff_fc00n, Infinity],
    [0x43ff_8000_0000_0000_0000n, Infinity],
    [0x7ffe_8000_0000_0000_0000n, Infinity],
    [0x3bcc_8000_0000_0000_0000n, 0],
    [0x3bcc_8000_0000_0000_0001n, Number.MIN_VALUE],
    [0x3bcd_c000_0000_0000_0000n, 2 * Number.MIN_VALUE],
    [1n, 0],
    // 0.75 of a unit below the least normal double, and half of one below twice the least.
    [0x3c00_ffff_ffff_ffff_fc00n, 2 ** -1022],
    [0x3c01_ffff_ffff_ffff_fc00n, 2 ** -1021],
  ];
  for (const [bits, number] of cases) {
    assert(Object.is(extendedToNumber(bits), number), `0x${bits.toString(16)}`);
  }
});
