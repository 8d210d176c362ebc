import { assertEquals } from "@std/assert";
import { asm, boot, expect } from "@vmexit/vmexit";
import { linesFrom } from "../messages.ts";

Deno.test("only the registers that differ are shown, aligned and by name", () => {
  using vm = boot(asm`
    mov eax, 0x12345669
    stc
    hlt
  `);
  vm.run();
  const values = { ax: 0x5669, rax: 0x10n, "cs.base": 5, rflags: { cf: false, zf: false } };
  assertEquals(linesFrom(() => expect(vm).toHaveRegisters(values), "expect", 8), [
    'expect(vm).toHaveRegisters({ ax: 0x5669, rax: 0x10, "cs.base": 0x5, rflags: { cf: false, zf: false } })',
    "",
    "  rax        expected 0x00000010",
    "             received 0x12345669",
    "  cs.base    expected 0x5",
    "             received 0x0",
    "  rflags.cf  expected false",
    "             received true",
  ]);
});

Deno.test("a register of flags is shown with their names", () => {
  using vm = boot(asm`
    mov eax, 0x12345669
    stc
    hlt
  `);
  vm.run();
  assertEquals(linesFrom(() => expect(vm).toHaveRegisters({ rflags: 0x42 }), "  rflags", 2), [
    "  rflags  expected 0x42 (ZF)",
    "          received 0x03 (CF)",
  ]);
});

Deno.test("the first lane that differs is marked, also where it is the lowest", () => {
  using vm = boot(asm`hlt`);
  const lines = (...u32: number[]) =>
    linesFrom(() => expect(vm).toHaveRegisters({ xmm0: { u32 } }), "  xmm0", 3);
  assertEquals(lines(1, 0, 0, 0), [
    "  xmm0.u32  expected [0x1, 0x0, 0x0, 0x0]",
    "            received [0x0, 0x0, 0x0, 0x0]",
    "                        ^ lane 0",
  ]);
  assertEquals(lines(0, 0, 0, 2)[2], "                                       ^ lane 3");
});
