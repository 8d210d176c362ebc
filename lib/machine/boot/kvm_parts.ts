import type { Libc } from "../../ffi/libc.ts";
import { Kvm } from "../../kvm/kvm.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { CpuidEntry } from "../../x86/cpuid/cpuid.ts";
import { KVM_PRIVATE_PAGES } from "../../x86/layout.ts";
import { machineCpuid } from "../cpuid/machine_cpuid.ts";
import { checkCpuCount, checkFeatures, checkHasSmm } from "../host/host_checks.ts";
import { createControllers } from "../interrupts/irqchip.ts";
import { DirtyLog, type DirtyPages, DirtyRings } from "../memory/dirty_pages.ts";
import type { BackedSlot } from "../memory/memory_slots.ts";
import { SlotTable } from "../memory/slot_table.ts";
import type { BootPlan } from "./boot_plan.ts";

/** What the host says of itself: it is the same for each machine. */
export interface HostFacts {
  /** What CPUID answers, on each of the CPUs alike. */
  readonly cpuid: readonly CpuidEntry[];
  /** Whether TR's busy TSS is brought into a vCPU as an available one: see `RegisterStore`. */
  readonly tssIsAvailable: boolean;
}

/** What KVM has of a machine, with its memory. */
export interface KvmParts extends HostFacts {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  readonly slots: SlotTable;
  readonly dirtyPages: DirtyPages | undefined;
  /** Whether another machine had them before. */
  readonly isReused: boolean;
}

/**
 * Has KVM make them anew.
 *
 * @param cleanup Gets what is to be released where something fails.
 */
export function createParts(
  libc: Libc,
  plan: BootPlan,
  memory: readonly BackedSlot[],
  cleanup: DisposableStack,
): KvmParts {
  const kvm = cleanup.use(Kvm.open(libc));
  if (plan.hasSmm) checkHasSmm(kvm);
  checkCpuCount(kvm, plan.starts.length);
  const vm = cleanup.use(kvm.createVm());
  const { entries, ofCpus, isAmd } = machineCpuid(kvm, plan.cpuid, plan.starts.length);
  checkFeatures(entries, plan.state);
  const dirtyPages = cleanup.use(dirtyPagesOf(vm, plan.dirtyPages));
  const slots = new SlotTable(libc, vm, memory, dirtyPages, plan.hasSmm);
  prepareVm(vm, plan);
  const vcpus = ofCpus.map((answers, number) => {
    const vcpu = cleanup.use(vm.createVcpu(number));
    vcpu.cpuid.setCpuid2(answers);
    dirtyPages?.attach(vcpu);
    return vcpu;
  });
  slots.noteWrites(vcpus[0]);
  return {
    kvm,
    vm,
    vcpus,
    slots,
    dirtyPages,
    cpuid: entries,
    tssIsAvailable: isAmd,
    isReused: false,
  };
}

function dirtyPagesOf(vm: Vm, plan: BootPlan["dirtyPages"]): DirtyPages | undefined {
  if (plan === undefined) return undefined;
  return plan === "log" ? new DirtyLog(vm) : new DirtyRings(vm, plan);
}

/** All that must be before the first vCPU. */
function prepareVm(vm: Vm, plan: BootPlan): void {
  vm.setRealModePages(KVM_PRIVATE_PAGES.taskState, KVM_PRIVATE_PAGES.identityMap);
  for (const { name, args } of plan.capabilities) vm.enableCap(name, ...args);
  createControllers(vm, plan);
}
