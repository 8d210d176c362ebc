import { assertEquals } from "@std/assert";
import { asm, boot, expect } from "@vmexit/vmexit";
import { linesFrom } from "../messages.ts";

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
