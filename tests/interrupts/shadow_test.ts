import { asm, boot, expect, hlt, type Machine, portOut } from "@vmexit/vmexit";
import { KVM_VCPUEVENT_VALID, KVM_X86_SHADOW_INT } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { assert, assertEquals } from "@std/assert";
import { intelHost } from "../hosts/intel.ts";

/** On a host that fails the entry where an interrupt is injected in a shadow. */
function interrupted(): Machine {
  return boot(
    asm`
      bits 64
      sti
    in_shadow:
      nop
      in al, 0x60
      cli
      hlt
    handler:
      out 0x80, al
      iretq
    `,
    {
      mode: "long",
      gates: { 0x40: "handler" },
      libc: intelHost(kvmLibc()),
      ports: { 0x60: { read: () => 0 } },
    },
  );
}

function isInShadow(vm: Machine): boolean {
  return vm.kvm.vcpu.events.getVcpuEvents().interrupt.shadow !== 0;
}

for (const name of ["STI", "MOV_SS"] as const) {
  Deno.test(`what is injected in the shadow of ${name} is not handed to KVM in it`, () => {
    using vm = interrupted();
    vm.registers.rflags.if = true;
    vm.registers.rip = "in_shadow";
    const { events } = vm.kvm.vcpu;
    const { interrupt } = events.getVcpuEvents();
    events.setVcpuEvents({
      flags: KVM_VCPUEVENT_VALID.SHADOW,
      interrupt: { ...interrupt, shadow: KVM_X86_SHADOW_INT[name] },
    });
    assert(isInShadow(vm));
    vm.inject.interrupt(0x40);
    expect(vm).toExit([portOut(0x80), hlt()]);
    assertEquals(vm.inject.waiting, []);
  });
}

Deno.test("what a handler injects at a read in the shadow of STI is not handed to KVM in it", () => {
  using vm = boot(
    asm`
      bits 64
      sti
      in al, 0x60
      nop
      cli
      hlt
    handler:
      out 0x80, al
      iretq
    `,
    { mode: "long", gates: { 0x40: "handler" }, libc: intelHost(kvmLibc()) },
  );
  let wasInShadow = false;
  vm.ports.on(0x60, {
    read() {
      vm.inject.interrupt(0x40);
      wasInShadow = isInShadow(vm);
      return 0;
    },
  });
  let taken = 0;
  vm.ports.on(0x80, { write: () => void taken++ });
  assertEquals([vm.run().reason, wasInShadow, taken], ["HLT", true, 1]);
});
