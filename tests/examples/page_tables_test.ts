import { asm, boot, expect } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

// Long mode with a mapping of the test's: the same byte by its linear and by its physical address.
Deno.test("a write to the upper half arrives in the page that is mapped there", () => {
  using vm = boot(
    asm`
      bits 64
      mov rdi, 0xffffffff80000123
      mov byte [rdi], 0x42
      hlt
    `,
    {
      mode: "long",
      mappings: [{ linear: 0xffff_ffff_8000_0000n, physical: 0x30_0000, size: 0x1000 }],
      memory: "4M",
    },
  );

  vm.run();

  expect(vm).toBeHalted();
  expect(vm).toHaveLinearMemory(0xffff_ffff_8000_0123n, [0x42]);
  expect(vm).toHaveMemory(0x30_0123, [0x42]);
  assertEquals(vm.linear.toPhysical(0xffff_ffff_8000_0123n), 0x30_0123);
});
