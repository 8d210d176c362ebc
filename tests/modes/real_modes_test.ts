import { asm, boot, expect, hlt, mmioRead, mmioWrite } from "@vmexit/vmexit";
import { assertEquals } from "@std/assert";

const PROTECTION_ENABLE = 0x1;
const DEVICE = 0xf000_0000;

Deno.test("real mode: bases are 16 times selectors, limits are 64 KiB, vectors lie at 0, and STR is no instruction", () => {
  using vm = boot(asm.file("../../guests/modes/real.asm"));
  expect(vm).toExit([mmioRead(0x10_ffef, 1).returns(0x77), hlt()]);
  expect(vm).toHaveMemory(0x9000, [0x34, 0x12]);
  expect(vm).toHaveRegisters({ cx: 13, dx: 6 });
  assertEquals(vm.registers.bx & PROTECTION_ENABLE, 0);
});

Deno.test("unreal mode: 32-bit offsets reach memory above 1 MiB and devices up to 4 GiB, without protection", () => {
  using vm = boot(asm.file("../../guests/modes/unreal.asm"), { mode: "unreal", memory: "4M" });
  expect(vm).toExit([mmioWrite(DEVICE, [0x78]), hlt()]);
  expect(vm).toHaveRegisters({ eax: 0x1234_5678 });
  expect(vm).toHaveMemory(0x30_0000, [0x78, 0x56, 0x34, 0x12]);
  expect(vm).toHaveMemory(0x7c00, [0x55]);
  assertEquals(vm.registers.bx & PROTECTION_ENABLE, 0);
});

Deno.test("the same guest is refused the same access in real mode", () => {
  using vm = boot(asm.file("../../guests/modes/unreal.asm"), { mode: "real", memory: "4M" });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ al: 0x47 }); // "G"
  expect(vm).toHaveMemory(0x30_0000, [0, 0, 0, 0]);
});
