import { asm, boot, exit, expect, hlt, type Machine, portOut, requires } from "@vmexit/vmexit";
import { KVM_EXIT_XEN, KVM_HC, KVM_IRQ_ROUTING, KVM_XEN_HVM_CONFIG } from "@vmexit/vmexit/abi";
import { assertEquals, assertGreater, assertThrows } from "@std/assert";

const MAP_GPA_RANGE = asm`
  bits 64
  mov eax, 12
  mov ebx, 0x2000
  mov ecx, 3
  mov edx, 0x10
  mov edi, 0x99
  vmmcall
  hlt
`;
const EXIT_HYPERCALL = { KVM_CAP_EXIT_HYPERCALL: 1 << KVM_HC.MAP_GPA_RANGE };

Deno.test("HYPERCALL: MAP_GPA_RANGE is answered by the transcript, and the guest gets the result", () => {
  using vm = boot(MAP_GPA_RANGE, { mode: "long", capabilities: EXIT_HYPERCALL });
  expect(vm).toExit([
    exit("HYPERCALL", {
      nrName: "MAP_GPA_RANGE",
      args: (args) => args.slice(0, 3).join() === "8192,3,16",
      longmode: true,
    }).returns({ ret: 0x55 }),
    hlt(),
  ]);
  assertEquals(vm.registers.rax, 0x55n);
});

Deno.test("HYPERCALL: a handler answers it, and one that nobody answers says how", () => {
  using vm = boot(MAP_GPA_RANGE, { mode: "long", capabilities: EXIT_HYPERCALL });
  assertThrows(() => vm.run(), Error, 'vm.on("HYPERCALL", () => ({ ret: 0 }))');
  const results: Record<string, number> = {};
  for (const nothing of [{}, { ret: results["typo"] }]) {
    using _handler = vm.on("HYPERCALL", () => nothing as { ret: number });
    assertThrows(() => vm.run(), TypeError, "Cannot answer an exit");
  }
  vm.on("HYPERCALL", ({ args }) => ({ ret: args[1] }));
  vm.run();
  assertEquals(vm.registers.rax, 3n);
  assertThrows(() => exit("HYPERCALL").returns({ result: 1 } as never), TypeError, "it takes ret");
  assertThrows(() => exit("HYPERCALL").returns({} as never), TypeError, "waits for ret");
  assertThrows(() => exit("X86_RDMSR").returns({} as never), TypeError, "waits for data or error");
  assertThrows(() => exit("HYPERCALL").returns({ ret: results["typo"] }), TypeError, "undefined");
  assertThrows(() => exit("HYPERCALL").returns({ ret: 2n ** 64n }), RangeError, "64 bits");
  assertThrows(() => exit("HYPERCALL").returns(5 as never), TypeError, "give the fields");
});

Deno.test("SET_TPR: a task priority that is lowered, where the kernel has no local APIC", () => {
  using vm = boot(
    asm`
      mov eax, 9
      mov cr8, rax
      mov eax, 2
      mov cr8, rax
      hlt
    `,
    { mode: "long" },
  );
  expect(vm).toExit([exit("SET_TPR", { cr8: 2n }), hlt()]);
});

Deno.test("TPR_ACCESS: reads and writes of the local APIC's task priority are reported", () => {
  using vm = boot(
    asm`
      mov eax, [0xfee00080]
      mov dword [0xfee00080], 0x20
      out 0x80, al
    `,
    { mode: "protected", irqchip: true },
  );
  vm.kvm.vcpu.apic.tprAccessReporting(true);
  const start = BigInt(vm.image.entry);
  expect(vm).toExit([
    exit("TPR_ACCESS", { isWrite: false, rip: (rip) => rip >= start }),
    exit("TPR_ACCESS", { isWrite: true }),
    portOut(0x80),
  ]);
});

const VECTOR = 0x31;
const LEVEL_TRIGGERED = 0xc000;

Deno.test("IOAPIC_EOI: the end of a level-triggered interrupt, where the IOAPIC is the process's", () => {
  using vm = boot(
    asm`
      mov dword [0xfee000f0], 0x1ff     ; the local APIC is on
      sti
      out 0x80, al
      jmp $
    handler:
      mov dword [0xfee000b0], 0
      out 0x81, al
      iretd
    `,
    { mode: "protected", irqchip: "split", gates: { [VECTOR]: "handler" } },
  );
  const { interrupts } = vm.kvm.vm;
  const msi = { address_lo: 0xfee0_0000, data: LEVEL_TRIGGERED | VECTOR };
  interrupts.setGsiRouting([{ gsi: 4, type: KVM_IRQ_ROUTING.MSI, u: { msi } }]);
  expect(vm).toExit([portOut(0x80)]);
  assertGreater(interrupts.signalMsi(msi), 0);
  expect(vm).toExit([exit("IOAPIC_EOI", { vector: VECTOR }), portOut(0x81)]);
});

const PAGES = 2000;

Deno.test(
  requires({ dirtyRing: true }, "DIRTY_RING_FULL: the guest wrote more pages than the ring holds"),
  () => {
    using vm = boot(
      asm`
        mov edi, 0x100000
        mov ecx, ${PAGES}
      next:
        mov [edi], al
        add edi, 0x1000
        loop next
        hlt
      `,
      { mode: "protected", memory: "16M", dirtyPages: { ring: 1024 } },
    );
    expect(vm).toExit([exit("DIRTY_RING_FULL").times({ atLeast: 2 }), hlt()]);
    const written = vm.memory.dirty().filter((gpa) => gpa >= 0x100000);
    assertEquals([written.length, written[0], written.at(-1)], [
      PAGES,
      0x100000,
      0x100000 + (PAGES - 1) * 0x1000,
    ]);
  },
);

/** What the guest needs to be told to use Hyper-V's enlightenments. */
function enlightened(vm: Machine): void {
  const { kvm, vcpu } = vm.kvm;
  vcpu.enableCap("KVM_CAP_HYPERV_SYNIC2");
  const plain = kvm.getSupportedCpuid().filter(({ function: leaf }) => leaf >>> 28 !== 4);
  vcpu.cpuid.setCpuid2([...plain, ...vcpu.cpuid.getSupportedHvCpuid()]);
}

Deno.test(
  requires(
    { hypervSynic2: true },
    "HYPERV: SYNIC when the guest sets up its interrupts, HCALL for a message",
  ),
  () => {
    using vm = boot(
      asm`
      xor edx, edx
      mov eax, 1
      mov ecx, 0x40000000               ; HV_X64_MSR_GUEST_OS_ID
      wrmsr
      mov ecx, 0x40000080               ; HV_X64_MSR_SCONTROL
      wrmsr
      mov ecx, 0x5c                     ; HVCALL_POST_MESSAGE
      mov edx, 0x2000
      vmmcall
      mov rbx, rax
      hlt
    `,
      { mode: "long", irqchip: true },
    );
    enlightened(vm);
    expect(vm).toExit([
      exit("HYPERV", { typeName: "SYNIC", synic: (synic) => synic?.msr === 0x40000080 }),
      exit("HYPERV", {
        typeName: "HCALL",
        hcall: (hcall) => hcall?.input === 0x5cn && hcall.params[0] === 0x2000n,
      }).returns({ result: 7 }),
    ]);
    vm.step();
    assertEquals(vm.registers.rax, 7n);
  },
);

Deno.test(
  requires({ hypervSynic2: true }, "HYPERV: SYNDBG when the guest uses the synthetic debugger"),
  () => {
    using vm = boot(
      asm`
      xor edx, edx
      mov eax, 1
      mov ecx, 0x40000000
      wrmsr
      mov ecx, 0x400000f1               ; HV_X64_MSR_SYNDBG_CONTROL
      wrmsr
      hlt
    `,
      { mode: "long", irqchip: true },
    );
    enlightened(vm);
    expect(vm).toExit([
      exit("HYPERV", { typeName: "SYNDBG", syndbg: (syndbg) => syndbg?.msr === 0x400000f1 }),
    ]);
  },
);

Deno.test(
  requires(
    { hypervSynic2: true },
    "SYSTEM_EVENT: a guest of Hyper-V crashes, or resets the machine",
  ),
  () => {
    const wrmsr = (msr: number, high: number, low: number) =>
      boot(
        asm`
        mov edx, ${high}
        mov eax, ${low}
        mov ecx, ${msr}
        wrmsr
        hlt
      `,
        { mode: "long", irqchip: true },
      );
    const HV_X64_MSR_CRASH_CTL = 0x40000105;
    const HV_X64_MSR_RESET = 0x40000003;
    using crashing = wrmsr(HV_X64_MSR_CRASH_CTL, 0x8000_0000, 0);
    enlightened(crashing);
    expect(crashing).toExit([exit("SYSTEM_EVENT", { typeName: "CRASH" })]);
    using resetting = wrmsr(HV_X64_MSR_RESET, 0, 1);
    enlightened(resetting);
    expect(resetting).toExit([exit("SYSTEM_EVENT", { typeName: "RESET" })]);
  },
);

Deno.test(requires({ xenHvm: true }, "XEN: a hypercall is answered by the transcript"), () => {
  const HYPERCALL_MSR = 0x40000000;
  using vm = boot(
    asm`
      mov eax, 17
      mov edi, 1
      vmmcall
      hlt
    `,
    { mode: "long" },
  );
  vm.kvm.vm.xen.xenHvmConfig({ flags: KVM_XEN_HVM_CONFIG.INTERCEPT_HCALL, msr: HYPERCALL_MSR });
  expect(vm).toExit([
    exit("XEN", { type: KVM_EXIT_XEN.HCALL, hcall: (hcall) => hcall?.input === 17n })
      .returns({ result: 3 }),
    hlt(),
  ]);
  assertEquals(vm.registers.rax, 3n);
});
