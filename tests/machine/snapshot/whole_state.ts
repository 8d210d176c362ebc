import { createHash } from "node:crypto";
import type { Machine, MachineCpu } from "@vmexit/vmexit";

/** MSRs that count time, which passes between two looks. */
const TIME = ["IA32_TSC", "HV_X64_MSR_TIME_REF_COUNT", "HV_X64_MSR_VP_RUNTIME"];

/** Where the local APIC has the count of its timer, which passes as well. */
const CURRENT_COUNT = 0x390;

/** All that can be asked of a machine that stands still, but for what counts time. */
export function wholeState(vm: Machine) {
  return {
    cpus: vm.cpus.map((cpu) => cpuState(vm, cpu)),
    memory: vm.memory.slots.map(({ gpa, size, readonly }) =>
      `${gpa} ${readonly} ${createHash("sha1").update(vm.memory.read(gpa, size)).digest("hex")}`
    ),
    serial: vm.serial.text,
    log: vm.log.records(),
    status: vm.exitStatus,
    hasRun: vm.hasRun,
  };
}

function cpuState(vm: Machine, cpu: MachineCpu) {
  const { kvm: { vcpu }, lastExit, isAtExit } = cpu;
  const { registers, fpu, events, nested, apic } = vcpu;
  const hasApic = hasLocalApic(cpu);
  const msrs = vm.msrs.list().filter(({ name }) => !TIME.includes(name!))
    .map(({ index, name }) => [name ?? index, cpu.msrs.get(index)]);
  return {
    lastExit,
    isAtExit,
    general: registers.getRegs(),
    special: registers.getSregs(),
    debug: registers.getDebugregs(),
    xcrs: fpu.getXcrs().xcrs,
    xsave: createHash("sha1").update(fpu.getXsave()).digest("hex"),
    events: events.getVcpuEvents(),
    nested: nested.getNestedState(),
    mpState: cpu.mpState,
    msrs: Object.fromEntries(msrs),
    apic: hasApic
      ? apic.getLapic().filter((_, at) => at < CURRENT_COUNT || at >= CURRENT_COUNT + 4)
      : undefined,
  };
}

function hasLocalApic(cpu: MachineCpu): boolean {
  try {
    return cpu.localApic !== undefined;
  } catch {
    return false;
  }
}
