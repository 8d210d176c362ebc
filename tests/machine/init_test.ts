import {
  asm,
  boot,
  type BootOptions,
  expect,
  hlt,
  init,
  portOut,
  requires,
  reset,
  UnhandledExitError,
} from "@vmexit/vmexit";
import { I8042, PostCodes, ResetControl, SystemControlPort } from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** At the reset vector: `out 0x99, al` · `hlt`. */
const rom = () => {
  const content = new Uint8Array(0x1000);
  content.set([0xe6, 0x99, 0xf4], 0xff0);
  return { gpa: 0xffff_f000, size: 0x1000, readonly: true, content } as const;
};
const SLOTS = { slots: [rom()] };

const LEAVES_ITS_MARKS = asm`
  bits 64
  mov ecx, 0xc0000082       ; LSTAR
  mov eax, 0x12345000
  xor edx, edx
  wrmsr
  mov eax, 42
  cvtsi2sd xmm1, eax
  mov dword [mark], 7
  mov rax, 0x2000
  mov dr0, rax
  mov r15, 15
  hlt
  align 4
mark: dd 0
`;

Deno.test.each([{ irqchip: false }, { irqchip: true }, { irqchip: "split" }] as const)(
  "INIT with irqchip $irqchip: registers are as after RESET#, memory, FPU and MSRs stay",
  ({ irqchip }) => {
    using vm = boot(LEAVES_ITS_MARKS, { mode: "long", irqchip, ...SLOTS } as BootOptions);
    vm.run();
    const { cd, nw } = vm.registers.cr0;
    assertEquals(vm.registers.r15, 15n);
    vm.inject.init();
    expect(vm).toExit([init(), portOut(0x99, 0), hlt()]);
    expect(vm).toHaveRegisters({
      cs: 0xf000,
      rip: 0xfff3,
      rax: 0,
      r15: 0,
      "cr0.pe": false,
      "cr0.pg": false,
      "cr0.cd": cd,
      "cr0.nw": nw,
      cr3: 0,
      cr4: 0,
      efer: 0,
      dr0: 0,
      xmm1: { f64: [42, 0] },
    });
    expect(vm).toHaveMsrs({ LSTAR: 0x1234_5000 });
    assertEquals(vm.memory.u32("mark"), 7);
    assertEquals(
      vm.log.records().find(({ description }) => description !== undefined)?.description,
      "INIT: the CPU begins at its reset vector",
    );
  },
);

Deno.test("a run goes on behind an INIT of the test's; a handler's comes behind its exit", () => {
  using vm = boot(
    asm`
      out 0x80, al
      mov bx, 1
      jmp $
    `,
    SLOTS,
  );
  vm.ports.on(0x80, { write: () => vm.inject.init() });
  vm.ports.on(0x99, { write: () => {} });
  vm.run();
  expect(vm).toHaveRegisters({ cs: 0xf000, bx: 0 });
  vm.inject.init();
  assertEquals(vm.run({ until: "reset" }).reason, "SYSTEM_EVENT");
  expect(vm).toHaveRegisters({ cs: 0xf000, rip: 0xfff0 });
});

Deno.test("INIT wakes a guest that waits in HLT, and resets its local APIC", () => {
  using vm = boot(
    asm`
      bits 32
      %include "../../guests/interrupts/interrupts.inc"
      enable_apic
      mov dword [0xfee00080], 0x50
      sti
      hlt
    `,
    { irqchip: true, ...SLOTS },
  );
  vm.run({ until: "halted" });
  assertEquals([vm.localApic.enabled, vm.localApic.tpr], [true, 0x50]);
  const { id, version } = vm.localApic;
  vm.inject.init();
  expect(vm).toExit([init(), portOut(0x99), hlt()]);
  const { enabled, tpr, spuriousVector, lvt } = vm.localApic;
  assertEquals([enabled, tpr, spuriousVector, lvt.timer.masked], [false, 0, 0xff, true]);
  assertEquals([vm.localApic.id, vm.localApic.version], [id, version]);
});

Deno.test("a reset is warm, by INIT#, or cold, by RESET#: of devices the cold one alone", () => {
  const WARM = [
    { out: [[0x92, 1]], device: () => new SystemControlPort() },
    { out: [[0x64, 0xfe]], device: () => new I8042() },
    { out: [[0xcf9, 0x04]], device: () => new ResetControl() },
  ] as const;
  const COLD = [
    { out: [[0xcf9, 0x06]], device: () => new ResetControl() },
    { out: [[0xcf9, 0x0e]], device: () => new ResetControl() },
  ] as const;
  const at = (port: number, value: number) =>
    asm`
      mov dword [0x900], 0x1234
      mov al, 0x55
      out 0x80, al
      mov dx, ${port}
      mov al, ${value}
      out dx, al
      hlt
    `;
  for (const [ways, isWarm] of [[WARM, true], [COLD, false]] as const) {
    for (const { out: [[port, value]], device } of ways) {
      const post = new PostCodes();
      using vm = boot(at(port, value), { devices: [device(), post], ...SLOTS });
      expect(vm).toExit([
        portOut(0x80),
        portOut(port, value),
        isWarm ? init() : reset(),
        portOut(0x99),
        hlt(),
      ]);
      assertEquals([post.latest, vm.memory.u32(0x900)], [isWarm ? 0x55 : 0, 0x1234]);

      using other = boot(at(port, value), { devices: [device(), new PostCodes()], ...SLOTS });
      const wrong = [portOut(0x80), portOut(port, value), isWarm ? reset() : init(), hlt()];
      const { message } = assertThrows(() => expect(other).toExit(wrong), Error);
      assertStringIncludes(
        message,
        isWarm
          ? "received INIT: the CPU begins at its reset vector"
          : "received SYSTEM_EVENT RESET",
      );

      using unforeseen = boot(at(port, value), { devices: [device(), new PostCodes()] });
      assertThrows(() => unforeseen.run(), UnhandledExitError, "The guest reset the machine");
    }
  }
});

Deno.test.each([{ irqchip: true }, { irqchip: false }])(
  "INIT of several CPUs, irqchip $irqchip: the first begins again, the others wait for a SIPI",
  ({ irqchip }) => {
    const guest = asm`
      hlt
    second:
      inc word [0x900]
      jmp second
    `;
    using vm = boot(guest, { irqchip, cpus: [{}, { entry: "second" }], ...SLOTS });
    let before = -1;
    vm.ports.on(0x99, { write: () => void (before = vm.memory.u16(0x900)) });
    vm.inject.init();
    vm.run();
    expect(vm).toHaveRegisters({ cs: 0xf000 });
    assertEquals([before, vm.memory.u16(0x900)], [0, 0]);
    if (irqchip) assertEquals(vm.cpus[1].mpState, "INIT_RECEIVED");
    assertThrows(() => vm.cpus[1].inject.init(), TypeError, "INIT_RECEIVED");
  },
);

const IN_SMM = {
  smm: {
    handler: asm`
      mov al, 6
      mov dx, 0xcf9
      out dx, al
      rsm
    `,
  },
};

Deno.test("system-management mode: RESET# leaves it, and it holds INIT back", () => {
  using vm = boot(asm`hlt`, { devices: [new ResetControl()], ...IN_SMM, ...SLOTS });
  vm.inject.smi();
  expect(vm).toExit([portOut(0xcf9, 6), reset(), portOut(0x99), hlt()]);
  assertEquals(vm.events.smi.inSmm, false);
  assertEquals(vm.lastExit!.runFlags.smm, false);
  expect(vm).toHaveMsrs({ IA32_SMBASE: 0x3_0000 });

  using other = boot(asm`hlt`, { ...IN_SMM, ...SLOTS });
  other.ports.on(0xcf9, { write: () => other.inject.init() });
  other.inject.smi();
  assertThrows(() => other.run(), TypeError, "which holds it back until RSM");
});

Deno.test("a machine that is disposed takes no INIT", () => {
  const vm = boot(asm`hlt`);
  vm[Symbol.dispose]();
  assertThrows(() => vm.inject.init(), TypeError, "disposed");
});

const RESETS_BY_HYPERV = asm`
  bits 64
  mov r15, 15
  mov ecx, 0x40000003       ; HV_X64_MSR_RESET
  mov eax, 1
  xor edx, edx
  wrmsr
  hlt
`;

for (const irqchip of [false, true]) {
  const name = `a machine without devices is reset by Hyper-V's MSR, irqchip ${irqchip}`;
  Deno.test(requires({ hypervSynic2: true }, name), () => {
    const enlightened = () => {
      const vm = boot(RESETS_BY_HYPERV, { mode: "long", irqchip, ...SLOTS } as BootOptions);
      const { kvm, vcpu } = vm.kvm;
      const plain = kvm.getSupportedCpuid().filter(({ function: leaf }) => leaf >>> 28 !== 4);
      vcpu.cpuid.setCpuid2([...plain, ...vcpu.cpuid.getSupportedHvCpuid()]);
      return vm;
    };
    using vm = enlightened();
    expect(vm).toExit([reset(), portOut(0x99), hlt()]);
    expect(vm).toHaveRegisters({ cs: 0xf000, r15: 0, "cr0.pe": false });

    using other = enlightened();
    assertThrows(() => expect(other).toExit([init(), hlt()]), Error, "received SYSTEM_EVENT RESET");
    using unforeseen = enlightened();
    assertThrows(() => unforeseen.run(), UnhandledExitError, "The guest reset the machine");
  });
}
