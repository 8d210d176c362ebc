import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, boot, expect } from "@vmexit/vmexit";
import { failureOf, linesFrom } from "../messages.ts";

Deno.test("memory of more than a row is shown in the rows that differ", () => {
  using vm = boot(asm`hlt`);
  vm.memory.write(0x900, "0123456789abcdef0123456789ABCDEF");
  const expected = "0123456789abcdef0123456789abcdef";
  assertEquals(linesFrom(() => expect(vm).toHaveMemory(0x900, expected), "  physical", 8), [
    '  physical 0x900  expected "0123456789abcdef0123456789abcdef"',
    '                  received "0123456789abcdef0123456789ABCDEF"',
    "                                                      ^ character 26",
    "",
    "6 of 32 bytes differ, the first at 0x91a",
    "  0x910  expected 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66",
    "         received 30 31 32 33 34 35 36 37 38 39 41 42 43 44 45 46",
    "                                                ^^ ^^ ^^ ^^ ^^ ^^",
  ]);
});

Deno.test("of many rows that differ four are shown, and the others counted", () => {
  using vm = boot(asm`hlt`);
  const rowsOf = (bytes: number) =>
    failureOf(() => expect(vm).toHaveMemory(0x900, new Uint8Array(bytes).fill(1))).message
      .split("\n").filter((line) => /^ {2}(0x9|…)/.test(line));
  assertEquals(rowsOf(64).length, 4);
  assertEquals(rowsOf(65).slice(4), ["  … 1 row more"]);
  assertEquals(rowsOf(96).slice(4), ["  … 2 rows more"]);
});

Deno.test("memory is found by a label, and the page has both its name and its address", () => {
  using vm = boot(asm`
    inc byte [ticks]
    hlt
  ticks: db 0
  `);
  vm.run();
  expect(vm).toHaveMemory("ticks", [1]);
  expect(vm).toHaveLinearMemory("ticks", [1]);
  const { message } = failureOf(() => expect(vm).toHaveMemory("ticks", [2]));
  assertStringIncludes(message, 'expect(vm).toHaveMemory("ticks", [0x2])');
  assertStringIncludes(message, "physical 0x505 (ticks)  expected 02");
  assertThrows(() => expect(vm).toHaveMemory("tick", [1]), RangeError, "tick");
});

Deno.test("memory of one row, and memory that is so after all, are shown without rows", () => {
  using vm = boot(asm`hlt`);
  const pages = [
    () => expect(vm).toHaveMemory(0x900, new Uint8Array(16).fill(1)),
    () => expect(vm).not.toHaveMemory(0x900, new Uint8Array(32)),
  ].map((call) => failureOf(call).message);
  for (const page of pages) assert(!page.includes("bytes differ"), page);
});
