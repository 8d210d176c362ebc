import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { KvmError } from "@vmexit/vmexit";
import { Kvm, kvmLibc, openHandles, type Vcpu } from "@vmexit/vmexit/kvm";
import { ERRNO } from "../../lib/ffi/errors.ts";
import { allocatePages } from "../../lib/ffi/pages.ts";
import { EXIT_REASON } from "../../lib/kvm/abi/exit_reasons.ts";
import { IOCTLS } from "../../lib/kvm/abi/ioctls.ts";
import { kvm_regs, kvm_sregs } from "../../lib/kvm/abi/structs/registers.ts";
import { realMode } from "../../lib/x86/boot/modes/real.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { injected } from "../machine/injected_libc.ts";

const ENTRY = 0x500;
/** `out 0x10, al`, then `hlt`, then `jmp` to itself. */
const CODE = [0xe6, 0x10, 0xf4, 0xeb, 0xfe];

/** A vCPU in real mode before {@linkcode CODE}. Its VM is closed already: the vCPU keeps it alive in the kernel. */
function vcpuOf(libcOfTest = kvmLibc()): Vcpu {
  using kvm = Kvm.open(libcOfTest);
  using vm = kvm.createVm();
  const pages = allocatePages(kvmLibc(), 4096);
  pages.bytes.set(CODE, ENTRY);
  vm.setMemorySlot({ slot: 0, gpa: 0, pages });
  const vcpu = vm.createVcpu(0);
  const { registers, specialRegisters } = realMode({ entry: ENTRY });
  const special = new Uint8Array(kvm_sregs.size);
  kvm_sregs.write(new DataView(special.buffer), 0, specialRegisters);
  vcpu.registers.setSregs(special);
  const general = new Uint8Array(kvm_regs.size);
  kvm_regs.write(new DataView(general.buffer), 0, { ...registers, rax: 0x5an });
  vcpu.registers.setRegs(general);
  return vcpu;
}

Deno.test("a vCPU runs to its exits, and its registers can be read between them", () => {
  using vcpu = vcpuOf();
  assertEquals([vcpu.run(), vcpu.kvmRun.exitReason], [0, EXIT_REASON.IO]);
  assertEquals([vcpu.kvmRun.ioPort, vcpu.kvmRun.ioElement(0, 1)], [0x10, 0x5a]);
  assertEquals([vcpu.run(), vcpu.kvmRun.exit().reason], [0, "HLT"]);
  const registers = new Uint8Array(kvm_regs.size);
  vcpu.registers.getRegs(registers);
  assertEquals(kvm_regs.read(new DataView(registers.buffer)).rip, BigInt(ENTRY + 3));
});

Deno.test("immediateExit finishes the latest exit, runs nothing, and is EINTR", () => {
  using vcpu = vcpuOf();
  vcpu.run();
  vcpu.kvmRun.immediateExit = true;
  assertEquals(vcpu.run(), ERRNO.EINTR);
  const registers = new Uint8Array(kvm_regs.size);
  vcpu.registers.getRegs(registers);
  assertEquals(kvm_regs.read(new DataView(registers.buffer)).rip, BigInt(ENTRY + 2));
  vcpu.kvmRun.immediateExit = false;
  assertEquals([vcpu.run(), vcpu.kvmRun.exit().reason], [0, "HLT"]);
});

Deno.test("EINTR is a result, and every other errno a KvmError; a memory fault is an exit", () => {
  let errno = 0;
  const faulty = injected((real) => ({
    errno: () => errno === 0 ? real.errno() : errno,
    ioctl(...args) {
      if (errno === 0 || args[1] !== IOCTLS.KVM_RUN.number) return real.ioctl(...args);
      // The kernel fills kvm_run in and fails all the same.
      if (errno === ERRNO.EHWPOISON) vcpu.kvmRun.exitReason = EXIT_REASON.MEMORY_FAULT;
      return -1;
    },
  }));
  using vcpu = vcpuOf(faulty);
  vcpu.run();
  errno = ERRNO.EINTR;
  assertEquals(vcpu.run(), ERRNO.EINTR);
  errno = ERRNO.EFAULT;
  assertThrows(() => vcpu.run(), KvmError, "KVM_RUN failed with EFAULT (14) on vCPU 0");
  errno = ERRNO.EHWPOISON;
  assertEquals([vcpu.run(), vcpu.kvmRun.exit().reason], [0, "MEMORY_FAULT"]);
  // That exit is over: it is not what the next call fails with.
  errno = ERRNO.EFAULT;
  assertThrows(() => vcpu.run(), KvmError, "KVM_RUN failed with EFAULT (14) on vCPU 0");
});

/** Has V8 collect what nobody can reach. */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}

Deno.test("the guest's memory lives as long as a vCPU that can write to it", async () => {
  using vcpu = vcpuOf();
  // Nobody else knows the pages now: they are held as what is nobody's, by references that hold nothing.
  const [pages, nobodys] = (() => [new WeakRef(vcpu.memory.get(0)!), new WeakRef({})])();
  await new Promise((resolve) => setTimeout(resolve, 0));
  collectGarbage();
  assertEquals(nobodys.deref(), undefined, "the collector did not run");
  assert(pages.deref() !== undefined, "the memory was collected");
  assertEquals([vcpu.run(), vcpu.kvmRun.exit().reason], [0, "IO"]);
});

Deno.test("a vCPU whose mapping fails is closed again", () => {
  const before = openHandles();
  const libcOfTest = injected(() => ({
    mmap: () => 0xffff_ffff_ffff_ffffn,
    errno: () => ERRNO.ENOMEM,
  }));
  assertThrows(() => vcpuOf(libcOfTest), Error, "mmap failed with ENOMEM (12)");
  assertEquals(openHandles(), before);
});

Deno.test("once closed it is refused, by name, and its kvm_run is gone without a crash", () => {
  const before = openHandles();
  const vcpu = vcpuOf();
  vcpu.run();
  const { kvmRun } = vcpu;
  vcpu[Symbol.dispose]();
  vcpu[Symbol.dispose]();
  assertEquals(openHandles(), before);
  const registers = new Uint8Array(kvm_regs.size);
  for (
    const use of [
      () => vcpu.registers.getRegs(registers),
      () => vcpu.registers.setRegs(registers),
      () => vcpu.registers.getSregs(new Uint8Array(kvm_sregs.size)),
      () => vcpu.setGuestDebug(0),
      () => vcpu.run(),
    ]
  ) assertThrows(use, TypeError, "Cannot use vCPU 0: it is disposed");
  for (
    const use of [
      () => kvmRun.exitReason,
      () => kvmRun.exitReason = 1,
      () => kvmRun.immediateExit = true,
      () => kvmRun.ioElement(0, 4),
      () => kvmRun.setIoData(new Uint8Array(1)),
      () => kvmRun.setMmioData(new Uint8Array(8)),
      () => kvmRun.exit(),
    ]
  ) assertThrows(use, RangeError);
});
