import { assertEquals, assertThrows } from "@std/assert";
import { asm, boot, CapabilityError, expect, modes, portOut } from "@vmexit/vmexit";
import { CAPABILITIES, IOCTLS } from "@vmexit/vmexit/abi";
import { ERRNO, Kvm, kvmLibc } from "@vmexit/vmexit/kvm";
import { linux515 } from "./linux_5_15.ts";

const libc = () => linux515(kvmLibc());

Deno.test("what came after Linux 5.15, Hyper-V and Xen are not there", () => {
  using kvm = Kvm.open(libc());
  const there = Object.values(CAPABILITIES).filter(({ name }) => kvm.capability(name) > 0);
  assertEquals(there.filter(({ number }) => number > CAPABILITIES.KVM_CAP_ARM_MTE.number), []);
  assertEquals(there.filter(({ name }) => /HYPERV|XEN/.test(name)), []);
  assertEquals(there.length > 50, true);
});

Deno.test("the ioctls and switches of those are refused as that kernel does", () => {
  const old = libc();
  const bytes = new Uint8Array(new ArrayBuffer(4096));
  using kvm = Kvm.open(old);
  using vm = kvm.createVm();
  using vcpu = vm.createVcpu(0);
  assertThrows(() => vcpu.fpu.getXsave2(), CapabilityError, "KVM_CAP_XSAVE2");
  assertThrows(() => vm.enableCap("KVM_CAP_X86_TRIPLE_FAULT_EVENT", 1), CapabilityError);
  assertEquals(old.ioctlBuffer(-1, IOCTLS.KVM_GET_XSAVE2.number, bytes), -1);
  assertEquals(old.errno(), ERRNO.ENOTTY);
});

for (const { name, options } of modes()) {
  Deno.test(`a guest runs in ${name} mode there, with all of its registers`, () => {
    using vm = boot(
      asm`
        mov al, 7
        out 0x80, al
      `,
      { ...options, libc: libc() },
    );
    expect(vm).toExit([portOut(0x80, 7)]);
    vm.registers.fcw.value = 0x27fn;
    assertEquals([vm.registers.al, vm.registers.fcw.value], [7, 0x27fn]);
  });
}
