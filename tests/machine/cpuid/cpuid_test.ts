import {
  asm,
  boot,
  type BootOptions,
  type CpuidOptions,
  expect,
  HostError,
  type Machine,
} from "@vmexit/vmexit";
import { Kvm, openHandles } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { MSRS } from "../../../lib/x86/msrs/msrs.ts";
import { IOCTLS } from "../../../lib/kvm/abi/ioctls.ts";
import { kvm_cpuid2, kvm_cpuid_entry2 } from "../../../lib/kvm/abi/structs/cpuid.ts";
import { injected } from "../injected_libc.ts";
import { emulatedCpuid, supportedCpuid } from "../../../lib/machine/cpuid/cpuid.ts";

/** Asks CPUID, and stores the answer's registers at 0x800. */
const ASK = asm`
  bits 16
  cpuid
  mov [0x800], eax
  mov [0x804], ebx
  mov [0x808], ecx
  mov [0x80c], edx
  hlt
`;

function machine(cpuid: CpuidOptions | undefined, options: Partial<BootOptions> = {}): Machine {
  return boot(ASK, { cpuid, ...options } as BootOptions);
}

/** What the guest gets for a leaf. */
function answer(vm: Machine, leaf: number, subleaf = 0): Record<string, number> {
  vm.registers.set({ eip: vm.image.entry, eax: leaf, ecx: subleaf });
  vm.run();
  const view = new DataView(vm.memory.read(0x800, 16).slice().buffer);
  const [eax, ebx, ecx, edx] = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
  return { eax, ebx, ecx, edx };
}

function text(words: readonly number[]): string {
  return new TextDecoder().decode(new Uint32Array(words));
}

Deno.test("the guest gets what vm.cpuid says, with nothing edited", () => {
  using vm = machine(undefined);
  for (const [leaf, subleaf] of [[0, 0], [7, 0], [0x8000_0001, 0]] as const) {
    assertEquals(answer(vm, leaf, subleaf), vm.cpuid.leaf(leaf, subleaf) as Record<string, number>);
  }
  assertEquals(vm.cpuid.has("pae"), true);
  assert(vm.cpuid.features.includes("lm"));
  assertEquals(vm.cpuid.leaf(0x1234_5678), undefined);
  const { ebx, ecx, edx } = answer(vm, 0);
  assertEquals(text([ebx, edx, ecx]), vm.cpuid.vendor);
  assertEquals(vm.cpuid.hypervisor, "KVMKVMKVM");
  assert(vm.cpuid.processor.family > 0);
});

const HYPERVISOR = 31;
const X2APIC = 21;
const TSC_DEADLINE = 24;
const APIC = 9;

for (const irqchip of [false, true, "split"] as const) {
  Deno.test(`what the guest sees by default fits the machine: irqchip ${irqchip}`, () => {
    using vm = machine(undefined, { irqchip });
    const hasApic = irqchip !== false;
    const { ecx, edx } = answer(vm, 1);
    const isSet = (word: number, bit: number) => (word >>> bit & 1) === 1;
    assert(isSet(ecx, HYPERVISOR), "KVM's leaves are there, and the bit says so");
    assertEquals(isSet(ecx, X2APIC), hasApic);
    assertEquals(isSet(edx, APIC), hasApic);
    using kvm = Kvm.open();
    const hasDeadline = hasApic && kvm.capability("KVM_CAP_TSC_DEADLINE_TIMER") !== 0;
    assertEquals(isSet(ecx, TSC_DEADLINE), hasDeadline);
    assertEquals((vm.registers.apic_base & 0x800n) !== 0n, hasApic);
    const supported = supportedCpuid(kvm);
    for (const name of ["kvm_pv_unhalt", "kvm_pv_eoi", "kvm_async_pf", "arat"] as const) {
      assertEquals(vm.cpuid.has(name), hasApic && supported.has(name), name);
    }
    for (const name of ["kvm_clocksource", "kvm_poll_control", "lm", "tsc"] as const) {
      assertEquals(vm.cpuid.has(name), supported.has(name), name);
    }
  });
}

/**
 * Whether no deadline comes in time: in QEMU's SVM (7.2, with Linux 6.1) the TSC that KVM takes for the guest's stands still,
 * and a deadline is late by as long as the machine has lived.
 */
function hasLateDeadlines(): boolean {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using vcpu = vm.createVcpu(0);
  const [first, second] = [1, 2].map(() => vcpu.msrs.getMsrs([MSRS.IA32_TSC])[0].data);
  return first === second;
}

const DEADLINE = "the deadline timer that the guest sees fires";
const isLate = hasLateDeadlines();

Deno.test(isLate ? `${DEADLINE} (skipped: the guest's TSC stands still for this KVM)` : DEADLINE, {
  ignore: isLate,
}, () => {
  using kvm = Kvm.open();
  if (kvm.capability("KVM_CAP_TSC_DEADLINE_TIMER") === 0) return;
  using vm = boot(
    asm`
      bits 64
      VECTOR   equ 0x40
      SPURIOUS equ 0xf0
      LVT      equ 0x320
      DEADLINE equ 0x6e0
      mov ebx, 0xfee00000
      mov dword [rbx + SPURIOUS], 0x1ff
      mov dword [rbx + LVT], 2 << 17 | VECTOR
      rdtsc
      add eax, 1000
      adc edx, 0
      mov ecx, DEADLINE
      wrmsr
      sti
      hlt
      cli
      hlt
    on_timer:
      inc r8d
      iretq
    `,
    {
      irqchip: true,
      gates: { 0x40: "on_timer" },
      mappings: [
        { linear: 0, physical: 0, size: 0x20_0000 },
        { linear: 0xfee0_0000, physical: 0xfee0_0000, size: 0x1000 },
      ],
    },
  );
  assert(vm.cpuid.has("tsc_deadline_timer"));
  vm.run();
  expect(vm).toHaveRegisters({ r8: 1 });
});

Deno.test("what needs a local APIC is not shown without one, but where the test plays it", () => {
  for (const show of ["apic", "x2apic", "tsc_deadline_timer"] as const) {
    const { message } = assertThrows(() => machine({ show: [show] }), TypeError);
    assertStringIncludes(message, `Cannot show the CPUID feature ${show}: it needs a local APIC`);
    assertStringIncludes(message, "Boot it with \`irqchip: true\`");
  }
  using vm = machine({ force: ["apic", "tsc_deadline_timer"], hypervisor: false });
  assert(vm.cpuid.has("apic") && vm.cpuid.has("tsc_deadline_timer") && !vm.cpuid.has("x2apic"));
  assertEquals(vm.registers.apic_base, 0xfee0_0900n);
  assertEquals([vm.cpuid.has("hypervisor"), vm.cpuid.hypervisor], [false, undefined]);
});

Deno.test("a hidden feature is hidden from the guest, and what belongs to it with it", () => {
  using plain = machine(undefined);
  assert(plain.cpuid.has("smep"));
  assertEquals(answer(plain, 7).ebx >>> 7 & 1, 1);

  using vm = machine({ hide: ["smep", "rdrand"] });
  assert(!vm.cpuid.has("smep") && !vm.cpuid.has("rdrand") && vm.cpuid.has("pae"));
  assertEquals(answer(vm, 7).ebx >>> 7 & 1, 0);

  // CR4.SMEP is reserved on a CPU without it: #GP.
  const setSmep = asm`
    bits 64
    mov rax, cr4
    bts rax, 20
    mov cr4, rax
    hlt
  fault:
    mov ebx, 1
    hlt
  `;
  for (const [hide, rbx] of [[[], 0], [["smep"], 1]] as const) {
    using guest = boot(setSmep, { mode: "long", cpuid: { hide }, gates: { 13: "fault" } });
    guest.run();
    expect(guest).toHaveRegisters({ rbx });
  }
});

Deno.test("the guest reads another brand, vendor, hypervisor, and processor", () => {
  const brand = "A CPU for tests only, made of forty-eight letter";
  using vm = machine({
    brand,
    vendor: "VmexitVmexit",
    hypervisor: "TestTestTest",
    family: 0x17,
    model: 0x31,
    stepping: 9,
  });
  const leaves = [0x8000_0002, 0x8000_0003, 0x8000_0004].map((leaf) => answer(vm, leaf));
  assertEquals(text(leaves.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx])), brand);
  assertEquals(vm.cpuid.brand, brand);
  const vendor = answer(vm, 0);
  assertEquals(text([vendor.ebx, vendor.edx, vendor.ecx]), "VmexitVmexit");
  const { ebx, ecx, edx } = answer(vm, 0x4000_0000);
  assertEquals(text([ebx, ecx, edx]), "TestTestTest");
  const version = answer(vm, 1);
  assertEquals(version.ecx >>> 31, 1);
  assertEquals(version.eax & 0x0fff_0fff, 0x0083_0f19);
  assertEquals(vm.cpuid.processor, { family: 0x17, model: 0x31, stepping: 9 });
});

Deno.test("a guest that shall not know of a hypervisor, and one without performance counters", () => {
  using vm = machine({ hypervisor: false, pmu: false });
  assertEquals(answer(vm, 1).ecx >>> 31, 0);
  assertEquals(vm.cpuid.hypervisor, undefined);
  assertEquals(vm.cpuid.leaf(0x4000_0000), undefined);
  assertEquals(answer(vm, 0xa), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

Deno.test("entries of the test's own take the place of what KVM supports", () => {
  const entry = { index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  using vm = machine({
    entries: [{ ...entry, function: 0, eax: 1 }, { ...entry, function: 1, eax: 0x123 }],
    show: ["hypervisor"],
  });
  const { eax, ecx } = answer(vm, 1);
  assertEquals([eax, ecx], [0x123, 0x8000_0000]);
  assertEquals(vm.cpuid.entries.length, 2);
});

Deno.test("each machine has what KVM supports when it is booted, and how many CPUs it has", () => {
  const GET_SUPPORTED_CPUID = IOCTLS.KVM_GET_SUPPORTED_CPUID.number;
  const withoutSse3 = injected((real) => ({
    ioctlBuffer(fd, request, bytes) {
      const result = real.ioctlBuffer(fd, request, bytes);
      if (request !== GET_SUPPORTED_CPUID || result < 0) return result;
      const { entries } = kvm_cpuid2.read(new DataView(bytes.buffer));
      const at = entries.findIndex((entry) => entry.function === 1);
      bytes[kvm_cpuid2.sizeFor(at) + kvm_cpuid_entry2.offsetOf("ecx")] &= ~1;
      return result;
    },
  }));
  const features = (options: Partial<BootOptions>) => {
    using vm = machine(undefined, options);
    return [answer(vm, 1).ecx & 1, vm.cpuid.has("apic"), answer(vm, 1).ebx >>> 16 & 0xff];
  };
  assertEquals(features({}), [1, false, 1]);
  assertEquals(features({ libc: withoutSse3 }), [0, false, 1]);
  assertEquals(features({}), [1, false, 1]);
  assertEquals(features({ irqchip: true }), [1, true, 1]);
  assertEquals(features({ irqchip: true, cpus: 2 }), [1, true, 2]);
  assertEquals(features({ cpuid: { hide: ["pni"] } } as Partial<BootOptions>), [0, false, 1]);
  assertEquals(features({}), [1, false, 1]);
});

Deno.test("the only CPU has id 0, whichever of the host's KVM was asked on", () => {
  using kvm = Kvm.open();
  const ofHost = kvm.getSupportedCpuid().map((entry) => {
    const { function: leaf, ebx } = entry;
    if (leaf === 1) return { ...entry, ebx: (ebx & 0xff_ffff | 0x2a00_0000) >>> 0 };
    if (leaf === 0xb || leaf === 0x1f) return { ...entry, edx: 0x2a };
    return leaf === 0x8000_001e ? { ...entry, eax: 0x2a, ebx: 0x115, ecx: 1 } : entry;
  });
  using vm = machine({ entries: ofHost });
  assertEquals(answer(vm, 1).ebx >>> 24, 0);
  for (const { function: leaf, eax, ebx, ecx, edx } of vm.cpuid.entries) {
    if (leaf === 0xb || leaf === 0x1f) assertEquals(edx, 0);
    if (leaf === 0x8000_001e) assertEquals([eax, ebx, ecx], [0, 0, 0]);
  }
});

Deno.test(
  "a feature that KVM lacks can be forced on, not shown",
  () => {
    const before = openHandles();
    const error = assertThrows(() => machine({ show: ["est", "smx", "nx"] }), HostError);
    assertStringIncludes(error.message, "Cannot show the CPUID features est, smx: this host's");
    assertStringIncludes(error.message, "requires({ est: true, smx: true }, …)");
    assertStringIncludes(error.message, "`cpuid: { force: […] }`");
    assert(error.stack!.split("\n").some((line) => line.includes("cpuid_test.ts")));
    assertEquals(openHandles(), before);
    using vm = machine({ force: ["smx"] });
    assertEquals(answer(vm, 1).ecx >>> 6 & 1, 1);
    assert(vm.cpuid.has("smx"));
  },
);

Deno.test("a feature that KVM supports, emulates, or has beside its list can be shown", () => {
  using kvm = Kvm.open();
  const emulated = emulatedCpuid(kvm).features;
  using vm = machine({ show: ["nx", "hypervisor", ...emulated] }, { irqchip: true });
  for (const name of ["nx", "hypervisor", ...emulated] as const) assert(vm.cpuid.has(name), name);
  const supported = supportedCpuid(kvm);
  assertEquals(supported.has("nx"), true);
  assertEquals(supported.vendor, vm.cpuid.vendor);
});

const BAD: readonly [what: string, cpuid: unknown, text: string][] = [
  ["an unknown feature", { hide: ["avx22"] }, "the nearest are avx2"],
  ["an unknown feature to force", { force: ["smepp"] }, "the nearest are smep"],
  ["a feature both hidden and shown", { hide: ["nx"], force: ["nx"] }, "Cannot both hide and show"],
  ["a brand of 49 characters", { brand: "x".repeat(49) }, "CPUID has room for 48"],
  ["a vendor of 11 characters", { vendor: "GenuineInte" }, "it has 11 characters, not 12"],
  ["a signature of 13 characters", { hypervisor: "x".repeat(13) }, "CPUID has room for 12"],
  ["a stepping of 16", { stepping: 16 }, "Cannot set the CPU's stepping as 16"],
];

for (const [what, cpuid, message] of BAD) {
  Deno.test(`${what} is refused`, () => {
    const before = openHandles();
    assertThrows(() => machine(cpuid as CpuidOptions), RangeError, message);
    assertEquals(openHandles(), before);
  });
}

Deno.test("names are checked when asked for, and a machine that is gone has no CPUID", () => {
  using vm = machine(undefined);
  assertThrows(() => vm.cpuid.has("la75" as "la57"), RangeError, "the nearest are la57");
  vm[Symbol.dispose]();
  assertThrows(() => vm.cpuid.vendor, TypeError, "Cannot ask CPUID: the machine is disposed");
});

Deno.test("5 levels on a CPU whose LA57 is hidden are refused", () => {
  assertThrows(
    () => boot(asm`hlt`, { mode: "long", levels: 5, cpuid: { hide: ["la57"] } }),
    HostError,
    "no LA57",
  );
});
