import { asm, boot, expect, hlt, type LongOptions } from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";

Deno.test("plain: every general register but RSP is zero", () => {
  using vm = boot(asm`hlt`, { mode: "long", convention: "plain" });
  const { rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r15, rsp } = vm.registers;
  assertEquals([rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r15], new Array(9).fill(0n));
  assertEquals(rsp, 0x1_0000n);
});

Deno.test("linux: a kernel finds the zero page in RSI, its stack, its tables, and the descriptors that rust-vmm writes", () => {
  using vm = boot(asm.file("../../guests/modes/linux_entry.asm"), {
    mode: "long",
    convention: "linux",
  });
  assertEquals([vm.registers.rip, vm.registers.rsp], [0x10_0000n, 0x8ff0n]);
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({
    rsi: 0x7000,
    rbp: 0x8ff0,
    ecx: 0x1f,
    rbx: 0x500,
    r8: 0x00af_9b00_0000_ffffn,
    r9: 0x00cf_9300_0000_ffffn,
    r10: 0x008f_8b00_0000_ffffn,
    r11: 0x9000,
    rdi: 0,
  });
  assertEquals([vm.registers.idt.base, vm.registers.idt.limit], [0x520n, 7] as unknown[]);
});

Deno.test("linux: a kernel finds the FPU's control words and the boot MSRs that rust-vmm writes", () => {
  using vm = boot(asm.file("../../guests/modes/linux_boot_msrs.asm"), {
    mode: "long",
    convention: "linux",
    registers: { "cr4.osfxsr": true },
  });
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ r8w: 0x37f, r9d: 0x1f80, rbx: 0, r10: 1 });
  // The TSC counts from 0: far less than a second of any CPU.
  assert(vm.registers.r11 < 10_000_000_000n);
});

Deno.test("linux: the zero page and the stack can be elsewhere", () => {
  using vm = boot(asm`hlt`, {
    mode: "long",
    convention: "linux",
    zeroPage: 0x6000,
    stack: 0x5000,
  });
  assertEquals([vm.registers.rsi, vm.registers.rsp, vm.registers.rbp], [0x6000n, 0x5000n, 0x5000n]);
});

Deno.test("unikernel: RDI has the boot information, RSI the number of the CPU, CR0 ET and NE, EFER NXE", () => {
  using vm = boot(
    asm`
      mov rax, cr0
      mov r8, rax
      mov ecx, 0xc0000080
      rdmsr
      hlt
    `,
    { mode: "long", convention: "unikernel", bootInformation: 0x9000, cpuNumber: 3 },
  );
  expect(vm).toExit([hlt()]);
  expect(vm).toHaveRegisters({ rdi: 0x9000, rsi: 3, r8: 0x8000_0031n, eax: 0xd00 });
});

Deno.test("an option that the convention does not have is refused", () => {
  const options: LongOptions[] = [
    { mode: "long", convention: "linux", cpl: 3 },
    { mode: "long", convention: "linux", cpuNumber: 1 },
    { mode: "long", zeroPage: 0x6000 },
    { mode: "long", convention: "unikernel", zeroPage: 0x6000 },
  ];
  for (const each of options) {
    assertThrows(() => boot(asm`hlt`, each), TypeError, "Leave it out");
  }
});

Deno.test("a convention is for 64-bit code", () => {
  assertThrows(
    () => boot(asm`hlt`, { mode: "real", convention: "linux" } as never),
    TypeError,
    "conventions are for 64-bit code",
  );
});
