import { assertEquals } from "@std/assert";
import { asm, boot } from "@vmexit/vmexit";

Deno.test("a step begins at the rip that the test has set", () => {
  using vm = boot(asm`
    nop
    nop
    nop
    hlt
  `);
  vm.step();
  assertEquals(vm.registers.rip, 0x501n);
  vm.registers.rip = 0x500n;
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals(vm.registers.rip, 0x501n);
});
