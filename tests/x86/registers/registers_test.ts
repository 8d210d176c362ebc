import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  isRegisterName,
  readRegister,
  type RegisterName,
  registerPlace,
  registerPlaces,
  writeRegister,
} from "../../../lib/x86/registers/registers.ts";

const value64 = fc.bigInt(0n, 2n ** 64n - 1n);
const names = fc.constantFrom(...[...registerPlaces.keys()] as RegisterName[]);
const full = 0x1122_3344_5566_7788n;

const reads: [RegisterName, number | bigint][] = [
  ["rax", full],
  ["eax", 0x5566_7788],
  ["ax", 0x7788],
  ["al", 0x88],
  ["ah", 0x77],
  ["dh", 0x77],
  ["r15", full],
  ["r15d", 0x5566_7788],
  ["r15w", 0x7788],
  ["r15b", 0x88],
  ["sil", 0x88],
  ["spl", 0x88],
  ["esp", 0x5566_7788],
  ["ip", 0x7788],
  ["eflags", 0x5566_7788],
  ["flags", 0x7788],
];

Deno.test.each(reads)("%s is read out of its 64-bit register", (name, expected) => {
  assertEquals(readRegister(name, full), expected);
});

const writes: [RegisterName, number | bigint, bigint][] = [
  ["rax", 1, 1n],
  ["rax", 2n ** 64n - 1n, 2n ** 64n - 1n],
  ["eax", 0xffff_ffff, 0xffff_ffffn],
  ["ax", 0, 0x1122_3344_5566_0000n],
  ["al", 0xff, 0x1122_3344_5566_77ffn],
  ["ah", 0xff, 0x1122_3344_5566_ff88n],
  ["r9d", 2, 2n],
  ["bpl", 0, 0x1122_3344_5566_7700n],
];

Deno.test.each(writes)("%s is written as the CPU does it", (name, value, expected) => {
  assertEquals(writeRegister(name, full, value), expected);
});

Deno.test("there are 18 registers of 64 bits, and 74 names in all", () => {
  // 16 general ones, rip and rflags, each also as 32 and 16 bits; 16 low bytes; 4 high bytes.
  assertEquals(registerPlaces.size, 18 * 3 + 16 + 4);
});

Deno.test("what is written is what is read", () => {
  fc.assert(fc.property(names, value64, value64, (name, before, random) => {
    const value = BigInt.asUintN(registerPlace(name).width, random);
    assertEquals(BigInt(readRegister(name, writeRegister(name, before, value))), value);
  }));
});

Deno.test("a write of 8 or 16 bits keeps all others, one of 32 clears the upper half", () => {
  fc.assert(fc.property(names, value64, (name, before) => {
    const { shift, width } = registerPlace(name);
    const after = writeRegister(name, before, 0);
    const mask = (2n ** BigInt(width) - 1n) << BigInt(shift);
    assertEquals(after, width < 32 ? before & ~mask : 0n);
  }));
});

Deno.test("a value that is too wide is refused, and the message says so", () => {
  assertThrows(
    () => writeRegister("al", 0n, 0x1ff),
    RangeError,
    "Cannot set al as 0x1ff: the value is wider than 8 bits",
  );
  assertThrows(() => writeRegister("eax", 0n, 2 ** 32), RangeError, "wider than 32 bits");
  assertThrows(() => writeRegister("rax", 0n, 2n ** 64n), RangeError, "wider than 64 bits");
});

Deno.test("a negative value is refused with its two's complement", () => {
  assertThrows(() => writeRegister("ax", 0n, -1), RangeError, "its two's complement, 0xffff");
});

Deno.test("a number that is not exact is refused", () => {
  assertThrows(() => writeRegister("rax", 0n, 2 ** 60), RangeError, "give a bigint");
  assertThrows(() => writeRegister("al", 0n, 0.5), RangeError, "0.5");
  assertThrows(() => writeRegister("al", 0n, NaN), RangeError, "NaN");
});

Deno.test("an unknown register is refused with the nearest names", () => {
  assertThrows(() => registerPlace("rxa"), RangeError, '"rxa"');
  assertThrows(() => writeRegister("r16", 0n, 0), RangeError, "r1");
  assert(isRegisterName("r8b"));
  assertFalse(isRegisterName("r16"));
  assertFalse(isRegisterName("toString"));
});
