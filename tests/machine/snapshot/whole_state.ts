import { createHash } from "node:crypto";
import { KVM_STATE_NESTED } from "@vmexit/vmexit/abi";
import { vmcb } from "@vmexit/vmexit/svm";
import type { Machine, MachineCpu } from "@vmexit/vmexit";

/** The bit of a TSS's type that says that it is busy (Intel SDM Vol. 3A, 7.2.2). */
const TSS_BUSY = 0x2;
const TR_TYPE = vmcb.offsetOf("save.tr.attrib");

/** MSRs that count time, which passes between two looks. */
const TIME = ["IA32_TSC", "HV_X64_MSR_TIME_REF_COUNT", "HV_X64_MSR_VP_RUNTIME"];

/** Where the local APIC has the count of its timer, which passes as well. */
const CURRENT_COUNT = 0x390;

/**
 * All that can be asked of a machine that stands still, but for what counts time.
 *
 * @param nestedVmcb Where a guest hypervisor has its VMCB: of the state of TR there, whether the TSS is busy is left out.
 */
export function wholeState(vm: Machine, nestedVmcb?: number): Record<string, unknown> {
  return {
    cpus: vm.cpus.map((cpu) => cpuState(vm, cpu)),
    memory: vm.memory.slots.map(({ gpa, size, readonly }) => {
      const bytes = vm.memory.read(gpa, size);
      if (nestedVmcb !== undefined) bytes[nestedVmcb - gpa + TR_TYPE] &= ~TSS_BUSY;
      return `${gpa} ${readonly} ${createHash("sha1").update(bytes).digest("hex")}`;
    }),
    serial: vm.serial.text,
    log: vm.log.records(),
    status: vm.exitStatus,
    hasRun: vm.hasRun,
  };
}

function cpuState(vm: Machine, cpu: MachineCpu) {
  const { kvm: { vcpu }, lastExit, isAtExit } = cpu;
  const { registers, fpu, apic } = vcpu;
  const hasApic = hasLocalApic(cpu);
  const listed = vm.msrs.list().filter(({ name }) => !TIME.includes(name!));
  const values = vcpu.msrs.getMsrs(listed.map(({ index }) => index));
  const msrs = listed.map(({ index, name }, at) => [name ?? index, values[at].data]);
  return {
    lastExit,
    isAtExit,
    general: registers.getRegs(),
    special: registers.getSregs(),
    debug: registers.getDebugregs(),
    xcrs: fpu.getXcrs().xcrs,
    xsave: createHash("sha1").update(fpu.getXsave()).digest("hex"),
    events: eventsOf(vcpu),
    nested: nestedOf(vcpu),
    mpState: cpu.mpState,
    msrs: Object.fromEntries(msrs),
    apic: hasApic
      ? apic.getLapic().filter((_, at) => at < CURRENT_COUNT || at >= CURRENT_COUNT + 4)
      : undefined,
  };
}

/** Where there is no event, KVM leaves what an earlier one has left in its fields. */
function eventsOf({ events }: MachineCpu["kvm"]["vcpu"]) {
  const { exception, interrupt, ...others } = events.getVcpuEvents();
  const hasException = exception.injected !== 0 || exception.pending !== 0;
  return {
    ...others,
    exception: hasException ? exception : undefined,
    interrupt: interrupt.injected === 0 ? interrupt.shadow : interrupt,
  };
}

/** The library gives AMD's CPUs an available TSS where they have a busy one, which they do not tell apart. */
function nestedOf({ nested }: MachineCpu["kvm"]["vcpu"]) {
  const { data, ...head } = nested.getNestedState();
  const bytes = data.slice();
  if (head.format === KVM_STATE_NESTED.FORMAT_SVM && bytes.length > 0) {
    bytes[TR_TYPE] &= ~TSS_BUSY;
  }
  return { ...head, data: createHash("sha1").update(bytes).digest("hex") };
}

function hasLocalApic(cpu: MachineCpu): boolean {
  try {
    return cpu.localApic !== undefined;
  } catch {
    return false;
  }
}
