import { asm, boot, expect, KvmError, type Machine, type MpState, portOut } from "@vmexit/vmexit";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { KVM_MP_STATE, KVM_VCPUEVENT_VALID, KVM_X86_SHADOW_INT } from "../../lib/kvm/abi/mod.ts";
import { kvm_vcpu_events, type KvmVcpuEvents } from "../../lib/kvm/abi/structs/vcpu.ts";
import { mpStateOf, vcpuEventState } from "../../lib/machine/interrupts/vcpu_events.ts";

const halted = (): Machine => boot(asm`hlt`);

Deno.test("kvm: what is set below the machine is true on it, and what was set on it is true below", () => {
  using vm = halted();
  vm.registers.rax = 1n;
  const regs = vm.kvm.vcpu.registers.getRegs();
  assertEquals(regs.rax, 1n);
  assertEquals(vm.registers.rbx, 0n);
  vm.kvm.vcpu.registers.setRegs({ ...regs, rbx: 2n });
  assertEquals([vm.registers.rax, vm.registers.rbx], [1n, 2n]);
  const area = vm.kvm.vcpu.fpu.getXsave();
  assertEquals(vm.registers.fcw.value, BigInt(area[0] | area[1] << 8));
  vm.run();
  expect(vm).toHaveRegisters({ rax: 1, rbx: 2 });
});

Deno.test("kvm: what kvm_run says beside the exit is that of the latest exit", () => {
  using vm = boot(asm`
    bits 64
    mov eax, 9
    mov cr8, rax
    hlt
    sti
    nop
    hlt
  `);
  const { kvmRun } = vm.kvm.vcpu;
  vm.run();
  const { cr8, ifFlag, readyForInterruptInjection, apicBase } = kvmRun;
  assertEquals([cr8, ifFlag, readyForInterruptInjection], [9n, false, false]);
  assertEquals(apicBase, vm.registers.apic_base);
  vm.run();
  assertEquals([kvmRun.ifFlag, kvmRun.readyForInterruptInjection], [true, true]);
});

Deno.test("cr8 that a test sets is what the guest reads, without and with the kernel's local APIC", () => {
  for (const irqchip of [false, true]) {
    using vm = boot(
      asm`
        bits 64
        mov rax, cr8
        out 0x80, al
        mov rax, cr8
        out 0x80, al
      `,
      { irqchip },
    );
    vm.registers.cr8 = 5n;
    expect(vm).toExit([portOut(0x80, 5)]);
    vm.kvm.vcpu.registers.setSregs({ ...vm.kvm.vcpu.registers.getSregs(), cr8: 3 });
    expect(vm).toExit([portOut(0x80, 3)]);
    assertEquals(vm.registers.cr8, 3n);
  }
});

Deno.test("kvm: all three levels, with the TSC, statistics and translation", () => {
  using vm = boot(asm`
    bits 64
    rdtsc
    hlt
  `);
  assert(vm.kvm.kvm.capability("KVM_CAP_NR_MEMSLOTS") > 0);
  assert(vm.kvm.vm.capability("KVM_CAP_XSAVE") > 0);
  assert(vm.kvm.vcpu.clock.getTscKhz() > 0);
  const { physical_address, valid } = vm.kvm.vcpu.registers.translate(0x10000);
  assertEquals([physical_address, valid], [BigInt(vm.linear.toPhysical(0x10000)), 1] as unknown[]);
  using statistics = vm.kvm.vcpu.getStatsFd();
  const exits = () => statistics.read().get("exits")![0];
  const before = exits();
  vm.run();
  assert(exits() > before);
});

Deno.test("kvm: it cannot be had from a disposed machine, nor with registers that KVM refuses", () => {
  const vm = boot(asm`bits 64
  hlt`);
  vm.registers.cr0.pg = false;
  assertThrows(() => vm.kvm, Error, "KVM_SET_SREGS failed with EINVAL");
  vm[Symbol.dispose]();
  assertThrows(() => vm.kvm, TypeError, "Cannot use KVM: the machine is disposed");
  assertThrows(() => vm.mpState, TypeError, "disposed");
  assertThrows(() => vm.events, TypeError, "disposed");
});

Deno.test("mpState: by name; a machine without interrupt controllers is always RUNNABLE", () => {
  using vm = halted();
  assertEquals(vm.mpState, "RUNNABLE");
  vm.mpState = "RUNNABLE";
  for (const state of ["HALTED", "UNINITIALIZED", "INIT_RECEIVED", "SIPI_RECEIVED"] as const) {
    const { message } = assertThrows(() => vm.mpState = state, TypeError);
    assertStringIncludes(message, `Cannot set the MP state as "${state}": the machine was booted`);
    assertStringIncludes(message, "`irqchip: true`");
    assertStringIncludes(message, '`reset: "restart"`');
  }
  assertEquals(vm.mpState, "RUNNABLE");
  assertThrows(
    () => vm.mpState = "HALT" as MpState,
    RangeError,
    'Cannot set the MP state as "HALT": there is none of that name; the nearest are HALTED',
  );
  assertEquals(mpStateOf(KVM_MP_STATE.AP_RESET_HOLD), "AP_RESET_HOLD");
  assertThrows(() => mpStateOf(KVM_MP_STATE.STOPPED), RangeError, "no vCPU of x86 has it");
});

Deno.test("mpState: with interrupt controllers a CPU can be halted and woken", () => {
  using vm = boot(
    asm`
      mov al, 1
      out 0xf4, al
    `,
    { irqchip: true, exitPort: 0xf4 },
  );
  vm.mpState = "HALTED";
  assertEquals(vm.mpState, "HALTED");
  vm.mpState = "RUNNABLE";
  vm.run();
  expect(vm).toHaveExitStatus(1);
});

Deno.test("mpState: INIT waits while the CPU is in system-management mode, and the error says so", () => {
  using vm = boot(asm`hlt`, {
    irqchip: true,
    smm: {
      handler: asm`
    out 0x80, al
    rsm
  `,
    },
  });
  let error: unknown;
  vm.ports.on(0x80, {
    write() {
      try {
        vm.mpState = "INIT_RECEIVED";
      } catch (caught) {
        error = caught;
      }
    },
  });
  vm.inject.smi();
  vm.run();
  assert(error instanceof KvmError);
  assertStringIncludes(error.message, "the vCPU is in system-management mode");
});

Deno.test("events: what waits, and what holds it back", () => {
  using vm = halted();
  const quiet = {
    exception: undefined,
    interrupt: undefined,
    shadow: undefined,
    nmi: { pending: false, injected: false, masked: false },
    smi: { pending: false, inSmm: false },
    tripleFault: false,
  };
  assertEquals(vm.events, quiet);
  vm.kvm.vcpu.events.nmi();
  assertEquals(vm.events.nmi.pending, true);
  const events = vm.kvm.vcpu.events.getVcpuEvents();
  const flags = KVM_VCPUEVENT_VALID.NMI_PENDING | KVM_VCPUEVENT_VALID.SHADOW;
  const interrupt = { injected: 0, nr: 0, soft: 0, shadow: KVM_X86_SHADOW_INT.STI };
  vm.kvm.vcpu.events.setVcpuEvents({ ...events, flags, interrupt });
  assert(vm.events.shadow?.startsWith("STI"));
  vm.kvm.vcpu.events.setVcpuEvents({
    ...events,
    flags,
    interrupt: { injected: 1, nr: 0x21, soft: 0, shadow: 0 },
    nmi: { injected: 0, pending: 0, masked: 1, pad: 0 },
  });
  assertEquals(vm.events, {
    ...quiet,
    interrupt: { vector: 0x21, soft: false },
    nmi: { pending: false, injected: false, masked: true },
  });
});

Deno.test("events: an exception that is injected has its name and its error code", () => {
  using vm = boot(asm`bits 64
  hlt`);
  vm.kvm.vcpu.events.setVcpuEvents({
    ...vm.kvm.vcpu.events.getVcpuEvents(),
    exception: { injected: 1, nr: 13, has_error_code: 1, pending: 0, error_code: 0x10 },
  });
  assertEquals(vm.events.exception, {
    name: "#GP",
    vector: 13,
    errorCode: 0x10,
    payload: undefined,
    injected: true,
  });
});

Deno.test("events: what KVM tells has names", () => {
  const told = (events: Partial<KvmVcpuEvents>) =>
    vcpuEventState({ ...kvm_vcpu_events.read(new DataView(new ArrayBuffer(64))), ...events });
  const shadows = [0, 1, 2, 3].map((shadow) =>
    told({ interrupt: { injected: 0, nr: 0, soft: 0, shadow } }).shadow
  );
  assertEquals(shadows, [undefined, "MOV SS", "STI", "STI or MOV SS"]);
  const exception = { injected: 0, nr: 14, has_error_code: 1, pending: 1, error_code: 2 };
  assertEquals(
    told({ exception, exception_has_payload: 1, exception_payload: 0x4000n }).exception,
    { name: "#PF", vector: 14, errorCode: 2, payload: 0x4000n, injected: false },
  );
  const triple_fault = { pending: 1 };
  assertEquals(told({ triple_fault }).tripleFault, false);
  assertEquals(told({ triple_fault, flags: KVM_VCPUEVENT_VALID.TRIPLE_FAULT }).tripleFault, true);
  const smi = { smm: 1, pending: 0, smm_inside_nmi: 0, latched_init: 0 };
  assertEquals(told({ smi }).smi, { pending: false, inSmm: true });
});
