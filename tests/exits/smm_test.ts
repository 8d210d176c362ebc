import {
  asm,
  boot,
  type BootOptions,
  CapabilityError,
  exit,
  expect,
  hlt,
  Image,
  KvmError,
  mmioRead,
  modes,
  portOut,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { CAPABILITIES, IOCTLS } from "@vmexit/vmexit/abi";
import { ERRNO } from "@vmexit/vmexit/kvm";
import { systemManagementEntry } from "@vmexit/vmexit/x86";
import { emulatedMachineName } from "../../lib/machine/host/emulated_machine.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { injected } from "../machine/injected_libc.ts";

const HANDLER = asm.file("../../guests/modes/system_management.asm");

Deno.test("a slot that KVM refuses in system-management mode is there in no mode", () => {
  let refuses = false;
  let failed = false;
  const libc = injected((real) => ({
    errno: () => failed ? ERRNO.ENOMEM : real.errno(),
    ioctlBuffer(fd, request, buffer) {
      const slot = new DataView(buffer.buffer, buffer.byteOffset).getUint32(0, true);
      failed = refuses && request === IOCTLS.KVM_SET_USER_MEMORY_REGION.number && slot >> 16 === 1;
      return failed ? -1 : real.ioctlBuffer(fd, request, buffer);
    },
  }));
  using vm = boot(
    asm`
      bits 64
      mov al, [0x400000]
      mov bl, [0x600000]
      hlt
    `,
    { smm: { handler: HANDLER }, libc, slots: [{ gpa: 0x600000, size: "4K", content: [7] }] },
  );
  refuses = true;
  assertThrows(() => vm.memory.addSlot({ gpa: 0x400000, size: "4K" }), KvmError, "ENOMEM");
  const other = vm.memory.slotAt(0x600000)!;
  assertThrows(() => vm.memory.moveSlot(other, 0x400000), KvmError, "ENOMEM");
  refuses = false;
  expect(vm).toExit([mmioRead(0x400000).returns(1), hlt()]);
  assertEquals(vm.registers.bl, 7);
});

const inSmm = ({ smm }: { smm: boolean }) => smm;
const outsideSmm = ({ smm }: { smm: boolean }) => !smm;

/** What QEMU breaks. */
const QEMU_LACKS: Readonly<Record<string, string>> = {
  pae: "it sets the accessed bit of PDPTEs, which is reserved, and KVM's RSM minds",
  virtual8086: "a busy TSS, which RSM leaves, gives CPL 3 no ports there",
};
const lacking = (mode: string) =>
  emulatedMachineName() === "qemu-svm" ? QEMU_LACKS[mode] : undefined;

for (const { name, mode, options } of modes()) {
  Deno.test({
    name: `SMM from ${name}: 16-bit code with segments of 4 GiB; exits say so; RSM goes back` +
      (lacking(mode) === undefined ? "" : ` (not on QEMU: ${lacking(mode)})`),
    ignore: lacking(mode) !== undefined,
    fn() {
      using vm = boot(
        asm`
          mov bx, 1
          out 0x10, al
          inc bx
          out 0x11, al
        `,
        { ...options, memory: "4M", smm: { handler: HANDLER } } as BootOptions,
      );
      expect(vm).toExit([portOut(0x10)]);
      const state = () => {
        const { cr0, cr3, cr4, efer, cs, ss, gdt, idt } = vm.registers;
        return [cr0.value, cr3, cr4.value, efer.value, cs.base, cs.selector, ss.limit, { ...gdt }, {
          ...idt,
        }];
      };
      const before = state();
      vm.inject.smi();
      expect(vm).toExit([
        exit("IO", { port: 0x80, runFlags: inSmm }),
        exit("IO", { port: 0x81, runFlags: inSmm }),
        exit("IO", { port: 0x11, runFlags: outsideSmm }),
      ]);
      assertEquals(vm.memory.u16(0x200000) & 1, 0);
      assertEquals([vm.memory.u16(0x200002), vm.memory.u32(0x200004)], [0x3000, 0x12345678]);
      assertEquals([vm.registers.bx, state()], [2, before]);
    },
  });
}

Deno.test({
  name: "QEMU sets the accessed bit of a PDPTE, which is reserved in PAE paging",
  ignore: lacking("pae") === undefined,
  fn() {
    using vm = boot(asm`hlt`, { mode: "pae" });
    const PRESENT = 0x1n;
    const ACCESSED = 0x20n;
    const flags = () => vm.memory.u64(Number(vm.registers.cr3)) & 0xfffn;
    assertEquals(flags(), PRESENT);
    vm.run();
    assertEquals(flags(), PRESENT | ACCESSED);
  },
});

Deno.test("RSM is an instruction in SMM alone: elsewhere it is #UD", () => {
  using vm = boot(
    asm`
      rsm
    handler:
      mov ebx, 6
      hlt
    `,
    { mode: "long", gates: { 6: "handler" }, smm: { handler: asm`rsm` } },
  );
  expect(vm).toExit([hlt()]);
  assertEquals(vm.registers.ebx, 6);
});

Deno.test("a failure in SMM says so", () => {
  using vm = boot(asm`hlt`, { smm: { handler: asm`out 0x80, al` } });
  vm.inject.smi();
  assertThrows(() => vm.run(), UnhandledExitError, "next 0x38002 in system-management mode");
});

Deno.test("SMM is entered in the state that systemManagementEntry says, at any SMBASE", () => {
  for (const base of [0x30000, 0xa0000]) {
    using vm = boot(asm`hlt`, { mode: "long", smm: { handler: asm`hlt`, base } });
    vm.inject.smi();
    assertEquals(vm.run().runFlags.smm, true);
    const { registers, segments, idt, cr4, efer } = systemManagementEntry({ smbase: base });
    const found = vm.registers;
    assertEquals(found.rip, registers.rip + 1n);
    assertEquals(found.rflags.value, registers.rflags);
    for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
      assertEquals({ ...found[name] }, { ...segments[name] }, name);
    }
    assertEquals({ ...found.idt }, idt);
    assertEquals([found.cr4.value, found.efer.value], [cr4, efer]);
    assertEquals([found.cr0.pe, found.cr0.pg], [false, false]);
  }
});

Deno.test("an SMM handler can be a label of the guest, which is jumped to", () => {
  using vm = boot(
    asm`
      bits 64
      hlt
      hlt
      bits 16
    on_smi:
      mov al, [cs:answer]
      out 0x80, al
      rsm
    answer: db 42
    `,
    { mode: "long", smm: { handler: "on_smi" } },
  );
  vm.run();
  vm.inject.smi();
  expect(vm).toExit([portOut(0x80, 42), hlt()]);
});

Deno.test("an SMM handler can be a flat binary; memory that is added later is there in SMM as well", () => {
  // mov eax, [dword 0x400000]; hlt
  const handler = Image.fromBytes(new Uint8Array([0x67, 0x66, 0xa1, 0, 0, 0x40, 0, 0xf4]), {
    origin: 0x8000,
  });
  using vm = boot(asm`hlt`, { smm: { handler } });
  const slot = vm.memory.addSlot({ gpa: 0x400000, size: "4K", content: [1, 2, 3, 4] });
  vm.inject.smi();
  vm.run();
  assertEquals(vm.registers.eax, 0x04030201);
  vm.memory.deleteSlot(slot);
});

Deno.test("an SMI without a handler, and a handler that cannot be, are refused", () => {
  using vm = boot(asm`hlt`);
  assertThrows(() => vm.inject.smi(), TypeError, "booted without the option `smm`");
  const refused = (smm: { handler: unknown; base?: number }, message: string, memory = "1M") =>
    assertThrows(
      () => boot(asm`hlt`, { memory: memory as "1M", smm: smm as { handler: number } }),
      Error,
      message,
    );
  refused({ handler: 1 << 20 }, "16-bit code reaches addresses below 1 MiB");
  refused({ handler: 1.5 }, "16-bit code reaches");
  refused({ handler: "nowhere" }, "nowhere");
  refused({ handler: null }, "Cannot boot with the option smm.handler null");
  refused({ handler: asm`times 0x8000 nop` }, "32768 bytes: there is room for 32256 at 0x38000");
  refused({ handler: asm`rsm`, base: 0x1234 }, "Cannot set SMBASE as 0x1234");
  refused({ handler: asm`rsm` }, "0x30000–0x3ffff, and the memory ends at 0x1000", "4K");
});

Deno.test("a KVM without SMM is named before a VM is made", () => {
  const libc = injected((real) => ({
    ioctl: (fd, request, argument) =>
      request === IOCTLS.KVM_CHECK_EXTENSION.number &&
        argument === CAPABILITIES.KVM_CAP_X86_SMM.number
        ? 0
        : real.ioctl(fd, request, argument),
  }));
  const error = assertThrows(
    () => boot(asm`hlt`, { libc, smm: { handler: asm`rsm` } }),
    CapabilityError,
    "this host's KVM lacks KVM_CAP_X86_SMM",
  );
  assert(error.capability === "KVM_CAP_X86_SMM");
});
