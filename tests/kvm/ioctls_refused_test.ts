import { CapabilityError, HostError } from "@vmexit/vmexit";
import {
  type CapabilityName,
  type IoctlName,
  IOCTLS,
  KVM_XEN_ATTR_TYPE,
  KVM_XEN_VCPU_ATTR_TYPE,
} from "@vmexit/vmexit/abi";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { injected } from "../machine/injected_libc.ts";
import { type Levels, levels, PAGE } from "./levels.ts";

const ATTRIBUTE = { group: 0, attr: 0 };
const REGISTER = 0x2030_0002_0000_0010n;

/** Every call that a capability gates, with arguments that are right. */
const GATED: readonly [IoctlName, (on: Levels) => unknown, CapabilityName?][] = [
  ["KVM_GET_SUPPORTED_CPUID", ({ kvm }) => kvm.getSupportedCpuid()],
  ["KVM_GET_EMULATED_CPUID", ({ kvm }) => kvm.getEmulatedCpuid()],
  ["KVM_GET_MSR_FEATURE_INDEX_LIST", ({ kvm }) => kvm.getMsrFeatureIndexList()],
  ["KVM_GET_MSRS", ({ kvm }) => kvm.getMsrs([0x10a]), "KVM_CAP_GET_MSR_FEATURES"],
  ["KVM_X86_GET_MCE_CAP_SUPPORTED", ({ kvm }) => kvm.x86GetMceCapSupported()],
  [
    "KVM_GET_SUPPORTED_HV_CPUID",
    ({ kvm }) => kvm.getSupportedHvCpuid(),
    "KVM_CAP_SYS_HYPERV_CPUID",
  ],
  [
    "KVM_GET_DEVICE_ATTR",
    ({ kvm }) => kvm.attributes.getDeviceAttr(ATTRIBUTE, 8),
    "KVM_CAP_SYS_ATTRIBUTES",
  ],
  [
    "KVM_HAS_DEVICE_ATTR",
    ({ vm }) => vm.attributes.hasDeviceAttr(ATTRIBUTE),
    "KVM_CAP_VM_ATTRIBUTES",
  ],
  ["KVM_SET_DEVICE_ATTR", ({ vcpu }) => vcpu.clock.setTscOffset(0n), "KVM_CAP_VCPU_ATTRIBUTES"],
  ["KVM_SET_NR_MMU_PAGES", ({ vm }) => vm.memory.setNrMmuPages(64)],
  [
    "KVM_SET_USER_MEMORY_REGION2",
    ({ vm, pages }) => vm.memory.setUserMemoryRegion2({ slot: 1, gpa: 0x100000, pages }),
  ],
  [
    "KVM_SET_MEMORY_ATTRIBUTES",
    ({ vm }) => vm.memory.setMemoryAttributes({ address: 0, size: PAGE }),
  ],
  ["KVM_CREATE_GUEST_MEMFD", ({ vm }) => vm.memory.createGuestMemfd(PAGE)],
  [
    "KVM_CLEAR_DIRTY_LOG",
    ({ vm }) =>
      vm.memory.clearDirtyLog({ slot: 0, firstPage: 0, pages: 16, bitmap: new Uint8Array(2) }),
  ],
  ["KVM_RESET_DIRTY_RINGS", ({ vm }) => vm.memory.resetDirtyRings()],
  [
    "KVM_REGISTER_COALESCED_MMIO",
    ({ vm }) => vm.memory.registerCoalescedMmio({ addr: 0x100000, size: 8 }),
  ],
  [
    "KVM_UNREGISTER_COALESCED_MMIO",
    ({ vm }) => vm.memory.unregisterCoalescedMmio({ addr: 0x100000, size: 8 }),
  ],
  ["KVM_GET_IRQCHIP", ({ vm }) => vm.interrupts.getIrqchip(0)],
  ["KVM_SET_IRQCHIP", ({ vm }) => vm.interrupts.setIrqchip({ chip_id: 0 })],
  ["KVM_IRQ_LINE", ({ vm }) => vm.interrupts.irqLine(0, 1)],
  ["KVM_IRQ_LINE_STATUS", ({ vm }) => vm.interrupts.irqLineStatus(0, 1)],
  ["KVM_SIGNAL_MSI", ({ vm }) => vm.interrupts.signalMsi({ data: 0x50 })],
  ["KVM_SET_GSI_ROUTING", ({ vm }) => vm.interrupts.setGsiRouting([])],
  ["KVM_IRQFD", ({ vm }) => vm.interrupts.irqfd({ gsi: 1 })],
  ["KVM_IOEVENTFD", ({ vm }) => vm.interrupts.ioeventfd({ addr: 0x10, len: 1 })],
  ["KVM_HYPERV_EVENTFD", ({ vm }) => vm.interrupts.hypervEventfd({ conn_id: 1 })],
  ["KVM_CREATE_PIT2", ({ vm }) => vm.pit.createPit2()],
  ["KVM_GET_PIT2", ({ vm }) => vm.pit.getPit2()],
  ["KVM_SET_PIT2", ({ vm }) => vm.pit.setPit2({})],
  ["KVM_REINJECT_CONTROL", ({ vm }) => vm.pit.reinjectControl(true)],
  ["KVM_GET_CLOCK", ({ vm }) => vm.clock.getClock()],
  ["KVM_SET_CLOCK", ({ vm }) => vm.clock.setClock({ clock: 0 })],
  ["KVM_GET_TSC_KHZ", ({ vm }) => vm.clock.getTscKhz()],
  ["KVM_SET_TSC_KHZ", ({ vm }) => vm.clock.setTscKhz(1000), "KVM_CAP_VM_TSC_CONTROL"],
  ["KVM_X86_SET_MSR_FILTER", ({ vm }) => vm.filters.x86SetMsrFilter(0, [])],
  ["KVM_SET_PMU_EVENT_FILTER", ({ vm }) => vm.filters.setPmuEventFilter({ action: 0, events: [] })],
  ["KVM_XEN_HVM_CONFIG", ({ vm }) => vm.xen.xenHvmConfig({})],
  ["KVM_XEN_HVM_GET_ATTR", ({ vm }) => vm.xen.xenHvmGetAttr(KVM_XEN_ATTR_TYPE.LONG_MODE)],
  [
    "KVM_XEN_HVM_SET_ATTR",
    ({ vm }) => vm.xen.xenHvmSetAttr(KVM_XEN_ATTR_TYPE.LONG_MODE, { long_mode: 1 }),
  ],
  ["KVM_XEN_HVM_EVTCHN_SEND", ({ vm }) => vm.xen.xenHvmEvtchnSend({ port: 1 })],
  [
    "KVM_ENABLE_CAP",
    ({ vm }) => vm.enableCap("KVM_CAP_SPLIT_IRQCHIP", 24),
    "KVM_CAP_SPLIT_IRQCHIP",
  ],
  ["KVM_SET_BOOT_CPU_ID", ({ vm }) => vm.setBootCpuId(0)],
  ["KVM_GET_STATS_FD", ({ vm }) => vm.getStatsFd()],
  ["KVM_GET_SREGS2", ({ vcpu }) => vcpu.registers.getSregs2()],
  ["KVM_SET_SREGS2", ({ vcpu }) => vcpu.registers.setSregs2({})],
  ["KVM_GET_DEBUGREGS", ({ vcpu }) => vcpu.registers.getDebugregs()],
  ["KVM_SET_DEBUGREGS", ({ vcpu }) => vcpu.registers.setDebugregs({})],
  ["KVM_GET_REG_LIST", ({ vcpu }) => vcpu.registers.getRegList()],
  ["KVM_GET_ONE_REG", ({ vcpu }) => vcpu.registers.getOneReg(REGISTER)],
  ["KVM_SET_ONE_REG", ({ vcpu }) => vcpu.registers.setOneReg(REGISTER, new Uint8Array(8))],
  ["KVM_GET_XSAVE", ({ vcpu }) => vcpu.fpu.getXsave()],
  ["KVM_GET_XSAVE2", ({ vcpu }) => vcpu.fpu.getXsave2()],
  ["KVM_SET_XSAVE", ({ vcpu }) => vcpu.fpu.setXsave(new Uint8Array(PAGE))],
  ["KVM_GET_XCRS", ({ vcpu }) => vcpu.fpu.getXcrs()],
  ["KVM_SET_XCRS", ({ vcpu }) => vcpu.fpu.setXcrs([{ xcr: 0, value: 1 }])],
  ["KVM_GET_CPUID2", ({ vcpu }) => vcpu.cpuid.getCpuid2()],
  ["KVM_SET_CPUID2", ({ vcpu }) => vcpu.cpuid.setCpuid2([])],
  ["KVM_GET_VCPU_EVENTS", ({ vcpu }) => vcpu.events.getVcpuEvents()],
  ["KVM_SET_VCPU_EVENTS", ({ vcpu }) => vcpu.events.setVcpuEvents({})],
  ["KVM_NMI", ({ vcpu }) => vcpu.events.nmi()],
  ["KVM_SMI", ({ vcpu }) => vcpu.events.smi()],
  ["KVM_GET_MP_STATE", ({ vcpu }) => vcpu.events.getMpState()],
  ["KVM_SET_MP_STATE", ({ vcpu }) => vcpu.events.setMpState(0)],
  ["KVM_X86_SETUP_MCE", ({ vcpu }) => vcpu.events.x86SetupMce(1n)],
  ["KVM_X86_SET_MCE", ({ vcpu }) => vcpu.events.x86SetMce({})],
  ["KVM_GET_LAPIC", ({ vcpu }) => vcpu.apic.getLapic()],
  ["KVM_SET_LAPIC", ({ vcpu }) => vcpu.apic.setLapic(new Uint8Array(1024))],
  ["KVM_TPR_ACCESS_REPORTING", ({ vcpu }) => vcpu.apic.tprAccessReporting(true)],
  ["KVM_SET_VAPIC_ADDR", ({ vcpu }) => vcpu.apic.setVapicAddr(0)],
  ["KVM_KVMCLOCK_CTRL", ({ vcpu }) => vcpu.clock.kvmclockCtrl()],
  ["KVM_GET_NESTED_STATE", ({ vcpu }) => vcpu.nested.getNestedState()],
  ["KVM_SET_NESTED_STATE", ({ vcpu }) => vcpu.nested.setNestedState({ format: 0 })],
  ["KVM_XEN_VCPU_GET_ATTR", ({ vcpu }) => vcpu.xen.xenVcpuGetAttr(KVM_XEN_VCPU_ATTR_TYPE.VCPU_ID)],
  [
    "KVM_XEN_VCPU_SET_ATTR",
    ({ vcpu }) => vcpu.xen.xenVcpuSetAttr(KVM_XEN_VCPU_ATTR_TYPE.VCPU_ID, { vcpu_id: 1 }),
  ],
  ["KVM_PRE_FAULT_MEMORY", ({ vcpu }) => vcpu.preFaultMemory(0, PAGE)],
];

Deno.test("without its capability, an ioctl is refused by both names before the kernel is asked", async (t) => {
  let lacking = false;
  const made = new Set<number>();
  using on = levels({
    // A capability that was found once is not asked for again.
    cpuid: false,
    libc: injected((real) => ({
      ioctl(fd, request, argument) {
        made.add(request);
        if (lacking && request === IOCTLS.KVM_CHECK_EXTENSION.number) return 0;
        return real.ioctl(fd, request, argument);
      },
      ioctlBuffer(fd, request, bytes) {
        made.add(request);
        return real.ioctlBuffer(fd, request, bytes);
      },
    })),
  });
  lacking = true;
  for (const [name, call, capability = IOCTLS[name].capability] of GATED) {
    await t.step(`${name} without ${capability}`, () => {
      made.clear();
      const error = assertThrows(
        () => call(on),
        CapabilityError,
        `Cannot call ${name}: this host's KVM lacks ${capability}. `,
      );
      assert(error instanceof HostError);
      assertEquals([error.ioctl, error.capability], [name, capability]);
      assert(!made.has(IOCTLS[name].number), "the kernel was asked");
    });
  }
});

Deno.test("every ioctl that the table gates is among them", () => {
  const tested = new Set(GATED.map(([name]) => name));
  // vmexit was started with these: without the first two nothing runs, and the others have an errno that says enough.
  const ungated = [
    "KVM_SET_USER_MEMORY_REGION",
    "KVM_SET_TSS_ADDR",
    "KVM_SET_IDENTITY_MAP_ADDR",
    "KVM_CREATE_IRQCHIP",
    "KVM_SET_GUEST_DEBUG",
  ];
  const legacy = ["KVM_CREATE_PIT", "KVM_GET_PIT", "KVM_SET_PIT"];
  // Linux 6.1 has devices on x86 and does not report KVM_CAP_DEVICE_CTRL.
  const devices = ["KVM_CREATE_DEVICE"];
  const left = Object.values(IOCTLS).filter(({ name, capability }) =>
    capability !== undefined && !tested.has(name)
  );
  assertEquals(
    left.map(({ name }) => name).toSorted(),
    [...ungated, ...legacy, ...devices].toSorted(),
  );
});

Deno.test("what outlives its VM asks the host", () => {
  const on = levels();
  const { vcpu } = on;
  on.vm[Symbol.dispose]();
  on.kvm[Symbol.dispose]();
  assertEquals(vcpu.registers.getSregs2().cs, vcpu.registers.getSregs().cs);
  on[Symbol.dispose]();
  assertThrows(() => vcpu.registers.getSregs2(), TypeError, "Cannot use vCPU 0: it is disposed");
});

Deno.test("the refusal says which kernel brought it", () => {
  const { message } = new CapabilityError("KVM_PRE_FAULT_MEMORY", "KVM_CAP_PRE_FAULT_MEMORY");
  assertEquals(
    message,
    "Cannot call KVM_PRE_FAULT_MEMORY: this host's KVM lacks KVM_CAP_PRE_FAULT_MEMORY. " +
      "It takes Linux 6.11 or newer, and a CPU and a kernel configuration that offer it.",
  );
});
