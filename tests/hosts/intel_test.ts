import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  asm,
  boot,
  exit,
  expect,
  hlt,
  HostError,
  type Machine,
  portOut,
  requires,
  shutdown,
} from "@vmexit/vmexit";
import { KVM_VCPUEVENT_VALID, KVM_X86_SHADOW_INT } from "@vmexit/vmexit/abi";
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { intelHost } from "./intel.ts";

const libc = () => intelHost(kvmLibc());

Deno.test(
  requires(
    { dirtyRing: true },
    "PML: a ring of 256 or 512 is refused and told why; the default one is not",
  ),
  () => {
    for (const ring of [256, 512]) {
      assertThrows(
        () => boot(asm`hlt`, { dirtyPages: { ring }, libc: libc() }),
        HostError,
        `Cannot note dirty pages in a ring of ${ring}: this host's KVM refuses it. Where an Intel processor logs`,
      );
    }
    using vm = boot(
      asm`
        bits 64
        mov byte [0x100000], 1
        hlt
      `,
      { dirtyPages: "ring", libc: libc() },
    );
    vm.run();
    assertEquals(vm.memory.dirty().filter((gpa) => gpa >= 0x100000), [0x100000]);
  },
);

Deno.test("SHUTDOWN: the failure page shows the registers that stay", () => {
  using vm = boot(
    asm`
      bits 64
      mov eax, 0x1234
      out 0x80, al
      ud2
    `,
    { mode: "long", idt: false, libc: libc() },
  );
  expect(vm).toExit([portOut(0x80), shutdown()]);
  expect(vm).toHaveRegisters({ rax: 0x1234 });
  const { message: page } = assertThrows(() => expect(vm).toHaveRegisters({ rax: 1 }), Error);
  assertStringIncludes(page, "ud2");
  assertEquals(page.includes("unknown place"), false, page);
});

/** Puts a machine between STI and the instruction after it. */
function inShadow(vm: Machine): void {
  vm.registers.rflags.if = true;
  const { events } = vm.kvm.vcpu;
  const { interrupt } = events.getVcpuEvents();
  events.setVcpuEvents({
    flags: KVM_VCPUEVENT_VALID.SHADOW,
    interrupt: { ...interrupt, shadow: KVM_X86_SHADOW_INT.STI },
  });
  // AMD's processors do not tell it from that of MOV SS.
  assert((events.getVcpuEvents().interrupt.shadow & KVM_X86_SHADOW_INT.STI) !== 0);
}

const interrupted = (): Machine =>
  boot(
    asm`
      bits 64
      mov al, 1
      jmp $
    handler:
      mov bl, al
      out 0x80, al
      hlt
    `,
    { mode: "long", gates: { 0x21: "handler" }, libc: libc() },
  );

Deno.test("STI's shadow: an interrupt that is injected in it waits, and is taken", () => {
  using vm = interrupted();
  inShadow(vm);
  vm.inject.interrupt(0x21);
  // QEMU's processor does not take the shadow over from KVM: which instruction comes first cannot be told there.
  expect(vm).toExit([portOut(0x80), hlt()]);
  assertEquals(vm.inject.waiting, []);
});

Deno.test("STI's shadow: what is injected past the machine fails the entry, and is told", () => {
  using vm = interrupted();
  inShadow(vm);
  vm.kvm.vcpu.events.interrupt(0x21);
  expect(vm).toExit([exit("FAIL_ENTRY", { hardware_entry_failure_reason: 0x80000021n })]);
});

Deno.test("the dirty log has the page tables that the processor walked, once it has run", () => {
  using vm = boot(
    asm`
      bits 64
      mov byte [0x100000], 1
      hlt
    `,
    { mode: "long", dirtyPages: "log", libc: libc() },
  );
  assertEquals(vm.memory.dirty(), []);
  vm.run();
  const pages = vm.memory.dirty();
  assertEquals(pages.includes(0x100000), true);
  assertEquals([0x1000, 0x2000, 0x3000].every((table) => pages.includes(table)), true);
  assertEquals(vm.memory.dirty(), []);
});
