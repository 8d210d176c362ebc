import { processCalls } from "../../ffi/process_calls.ts";
import type { Libc } from "../../ffi/libc.ts";
import type { IoctlName } from "../../kvm/abi/ioctls.ts";
import { KVM_PIT } from "../../kvm/abi/constants.ts";
import type { AskedOfKvm } from "../../kvm/ioctl_target.ts";
import { Kvm } from "../../kvm/kvm.ts";
import type { GivenVcpu, Vcpu } from "../../kvm/vcpu.ts";
import type { GivenVm, Vm } from "../../kvm/vm.ts";
import { cr4Flags, eferFlags } from "../../x86/registers/flag_tables.ts";
import { getFlag } from "../../x86/registers/flags.ts";
import { MSRS } from "../../x86/msrs/msrs.ts";
import { checkFeatures } from "../host/host_checks.ts";
import type { BackedSlot } from "../memory/memory_slots.ts";
import { SlotTable } from "../memory/slot_table.ts";
import { RegisterStore } from "../registers/register_store.ts";
import {
  CONTROLLERS,
  INTERVAL_TIMER,
  KVM_CLOCK,
  restoreVm,
  type SavedVmState,
  saveVm,
} from "../snapshot/controllers_state.ts";
import {
  type CpuShape,
  cpuShape,
  restoreCpu,
  saveCpu,
  type SavedCpuState,
  type StatefulCpu,
} from "../snapshot/cpu_state.ts";
import type { BootPlan } from "./boot_plan.ts";
import type { HostFacts, KvmParts } from "./kvm_parts.ts";

/** The environment variable that switches reuse on, by 1. */
export const REUSE_VARIABLE = "VMEXIT_REUSE";

/** How many VMs wait for their next machine at most, in this thread. */
const MOST_IDLE = 4;

/**
 * What may be asked of a VM and of its vCPU: it changes nothing, or only what {@linkcode KvmPool} sets when it takes them
 * out. Whatever else was asked, by the library or by a test, they are not used again.
 */
const RESTORED: ReadonlySet<IoctlName> = new Set<IoctlName>([
  "KVM_CHECK_EXTENSION",
  "KVM_GET_CLOCK",
  "KVM_GET_CPUID2",
  "KVM_GET_DEBUGREGS",
  "KVM_GET_DIRTY_LOG",
  "KVM_GET_FPU",
  "KVM_GET_IRQCHIP",
  "KVM_GET_LAPIC",
  "KVM_GET_MP_STATE",
  "KVM_GET_MSRS",
  "KVM_GET_NESTED_STATE",
  "KVM_GET_PIT2",
  "KVM_GET_REGS",
  "KVM_GET_SREGS",
  "KVM_GET_SREGS2",
  "KVM_GET_TSC_KHZ",
  "KVM_GET_VCPU_EVENTS",
  "KVM_GET_XCRS",
  "KVM_GET_XSAVE",
  "KVM_GET_XSAVE2",
  "KVM_TRANSLATE",
  // The slots are deleted, and with them what was logged of them.
  "KVM_SET_USER_MEMORY_REGION",
  "KVM_SET_CLOCK",
  "KVM_SET_IRQCHIP",
  "KVM_SET_DEBUGREGS",
  "KVM_SET_FPU",
  "KVM_SET_LAPIC",
  "KVM_SET_MP_STATE",
  "KVM_SET_PIT2",
  // Of those that the state has: see `canBeKept`.
  "KVM_SET_MSRS",
  "KVM_SET_REGS",
  "KVM_SET_SREGS",
  "KVM_SET_VCPU_EVENTS",
  "KVM_SET_XCRS",
  "KVM_SET_XSAVE",
]);

/**
 * MSRs that a guest must have left at 0: by two it has KVM keep something of its interrupts that it does not show, and VM_CR
 * does not become 0 again once it has switched SVM off (`svm_set_vm_cr` in arch/x86/kvm/svm/svm.c).
 */
const LEFT_AT_ZERO: readonly number[] = [MSRS.KVM_ASYNC_PF_EN, MSRS.KVM_PV_EOI_EN, MSRS.VM_CR];

/** How the CPUs and the controllers of a shape are when KVM has made them. */
interface Pristine {
  readonly cpus: readonly { readonly shape: CpuShape; readonly state: SavedCpuState }[];
  readonly vm: SavedVmState;
}

/** What VMs of one shape have in common. */
interface Shape extends HostFacts {
  /** Undefined before a second machine of the shape, and where KVM does not take all of what there is. */
  pristine?: Pristine;
  /** How many machines of it KVM has made. */
  made: number;
}

/** A VM with its vCPUs, which waits for its next machine. */
interface Idle {
  readonly key: string;
  readonly kvm: number;
  readonly vm: GivenVm;
  readonly vcpus: readonly GivenVcpu[];
}

/** All that KVM fixes when it makes the VM of a machine. */
function shapeOf({ irqchip, pit, starts, cpuid }: BootPlan): string {
  return `${irqchip} ${pit} ${starts.length} ${cpuid.asked}`;
}

/**
 * VMs of machines that were disposed, which the next machines of the same shape get: without memory, and with all state of
 * CPUs and controllers as KVM makes it. The shape is all that cannot be changed afterwards.
 */
export class KvmPool {
  readonly #libc: Libc;
  readonly #shapes = new Map<string, Shape>();
  /** Those that were given last come last. */
  #idle: Idle[] = [];
  #endsWithThread = false;
  /** How many machines there were, and how many of them had a VM of another. */
  booted = 0;
  reused = 0;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /**
   * Takes one for a machine.
   *
   * @param memory The machine's, new.
   * @param cleanup Gets what is to be released where something fails.
   * @returns Undefined where none waits.
   */
  take(
    plan: BootPlan,
    memory: readonly BackedSlot[],
    cleanup: DisposableStack,
  ): KvmParts | undefined {
    const key = shapeOf(plan);
    const at = this.#idle.findLastIndex((idle) => idle.key === key);
    const shape = this.#shapes.get(key);
    if (at < 0 || shape?.pristine === undefined) return undefined;
    const { cpuid, tssIsAvailable, pristine } = shape;
    checkFeatures(cpuid, plan.state);
    const [idle] = this.#idle.splice(at, 1);
    const kvm = cleanup.use(Kvm.take(this.#libc, idle.kvm));
    const vm = cleanup.use(kvm.takeVm(idle.vm));
    const vcpus = idle.vcpus.map((vcpu) => cleanup.use(vm.takeVcpu(vcpu)));
    restoreVm(vm, pristine.vm.filter(([piece]) => CONTROLLERS.includes(piece)));
    for (const [number, cpu] of statefulCpus(kvm, vcpus, plan, tssIsAvailable).entries()) {
      restoreCpu(cpu, pristine.cpus[number].state, { isOutside: true });
    }
    restoreVm(vm, pristine.vm.filter(([piece]) => !CONTROLLERS.includes(piece)));
    const slots = new SlotTable(this.#libc, vm, memory, undefined, false);
    this.booted++;
    this.reused++;
    for (const { asked } of [vm, ...vcpus]) asked.forget();
    return {
      kvm,
      vm,
      vcpus,
      slots,
      dirtyPages: undefined,
      cpuid,
      tssIsAvailable,
      isReused: true,
    };
  }

  /** Notes parts that KVM has just made: what a second one of a shape is like, all others of it are to be like. */
  created(plan: BootPlan, { kvm, vm, vcpus, cpuid, tssIsAvailable }: KvmParts): void {
    this.booted++;
    const key = shapeOf(plan);
    const shape = this.#shapes.get(key) ?? { cpuid, tssIsAvailable, made: 0 };
    this.#shapes.set(key, shape);
    shape.made++;
    if (shape.made === 2 && (!plan.pit || keepsSpeaker(vm))) {
      const cpus = statefulCpus(kvm, vcpus, plan, tssIsAvailable).map((cpu) => {
        const shape = cpuShape(cpu);
        return { shape, state: saveCpu(cpu, shape) };
      });
      // Of what KVM keeps for Hyper-V, MSRs are not all.
      if (!cpus[0].shape.isHyperv) {
        const pieces = [...CONTROLLERS, INTERVAL_TIMER, KVM_CLOCK];
        shape.pristine = { cpus, vm: saveVm(vm, pieces, plan) };
      }
    }
    for (const { asked } of [vm, ...vcpus]) asked.forget();
  }

  /**
   * Keeps parts of a machine that is disposed, if nothing is in them that would be left there. They are dead then.
   *
   * @returns Whether they were kept: else they are still their owner's.
   */
  keep(plan: BootPlan, { kvm, vm, vcpus }: KvmParts): boolean {
    const key = shapeOf(plan);
    const pristine = this.#shapes.get(key)?.pristine;
    if (pristine === undefined) return false;
    try {
      if (![vm, ...vcpus].every(({ asked }) => wasHarmless(asked))) return false;
      if (!vcpus.every((vcpu, number) => canBeKept(vcpu, pristine.cpus[number].shape))) {
        return false;
      }
      vm.deleteMemorySlots();
      // Timers would go on, and their interrupts come.
      restoreVm(vm, pristine.vm.filter(([piece]) => piece === INTERVAL_TIMER));
      for (const [number, vcpu] of vcpus.entries()) {
        const { state } = pristine.cpus[number];
        const localApic = state.find(([{ name }]) => name === "local APIC");
        if (localApic === undefined) continue;
        // What asks for the MP state takes an INIT that waits.
        vcpu.events.getMpState();
        vcpu.call("KVM_SET_LAPIC", localApic[1]);
      }
    } catch {
      // An emulated machine may have ended: then there is nothing to be kept, and disposing fails for nobody.
      return false;
    }
    this.#releaseAtEnd();
    while (this.#idle.length >= MOST_IDLE) this.#close(this.#idle.shift()!);
    this.#idle.push({
      key,
      vcpus: vcpus.map((vcpu) => vcpu.give()),
      vm: vm.give(),
      kvm: kvm.give(),
    });
    return true;
  }

  /** Closes all that wait, and says how many. */
  drain(): number {
    const idle = this.#idle.splice(0);
    for (const each of idle) this.#close(each);
    return idle.length;
  }

  #close({ kvm, vm, vcpus }: Idle): void {
    using owner = Kvm.take(this.#libc, kvm);
    using machine = owner.takeVm(vm);
    for (const vcpu of vcpus) machine.takeVcpu(vcpu)[Symbol.dispose]();
  }

  #releaseAtEnd(): void {
    if (this.#endsWithThread) return;
    this.#endsWithThread = true;
    // Where many files of tests run in one process, each has a thread's state of its own.
    globalThis.addEventListener("unload", () => this.drain());
  }
}

function statefulCpus(
  kvm: Kvm,
  vcpus: readonly Vcpu[],
  { irqchip }: BootPlan,
  tssIsAvailable: boolean,
): StatefulCpu[] {
  return vcpus.map((vcpu, number) => {
    const store = new RegisterStore(vcpu, tssIsAvailable);
    return { number, vcpu, store, machine: { kvm, irqchip } };
  });
}

/** Whether KVM shows and takes the speaker's bit of the PIT (since Linux 6.0): else the next guest would find it. */
function keepsSpeaker({ pit }: Vm): boolean {
  const before = pit.getPit2();
  pit.setPit2({ ...before, flags: before.flags | KVM_PIT.FLAGS_SPEAKER_DATA_ON });
  const { flags } = pit.getPit2();
  pit.setPit2(before);
  return (flags & KVM_PIT.FLAGS_SPEAKER_DATA_ON) !== 0;
}

/** Whether machines of a plan are such that all that a guest leaves in them is known. */
function hasReusableShape({ irqchip, hasSmm, dirtyPages, capabilities }: BootPlan): boolean {
  return irqchip !== "split" && !hasSmm && dirtyPages === undefined && capabilities.length === 0;
}

function wasHarmless({ made }: AskedOfKvm): boolean {
  return [...made].every((name) => RESTORED.has(name));
}

function canBeKept(vcpu: Vcpu, shape: CpuShape): boolean {
  if (!vcpu.isIntact) return false;
  const msrs = [...shape.msrs, ...shape.emulatedMsrs];
  if (![...vcpu.asked.msrsSet].every((index) => msrs.includes(index))) return false;
  const left = LEFT_AT_ZERO.filter((index) => msrs.includes(index));
  if (vcpu.msrs.getMsrs(left).some(({ data }) => data !== 0n)) return false;
  // Behind both, KVM has let go of all that is of guests of the guest's (`svm_set_efer`, `vmx_leave_nested`).
  if (!shape.isNested) return true;
  const { cr4, efer } = vcpu.registers.getSregs();
  return !getFlag(cr4Flags, "vmxe", cr4) && !getFlag(eferFlags, "svme", efer);
}

let pool: KvmPool | undefined;

/** The pool for machines of a plan; undefined where none is to be reused. */
export function poolFor(libc: Libc, plan: BootPlan): KvmPool | undefined {
  if (!(plan.reuse ?? processCalls().getenv(REUSE_VARIABLE) === "1")) return undefined;
  if (!hasReusableShape(plan)) return undefined;
  // A worker may be ended at any time, and then nobody closes what it has kept.
  if (typeof Reflect.get(globalThis, "WorkerGlobalScope") !== "undefined") return undefined;
  return pool ??= new KvmPool(libc);
}

/** How many machines of this thread have a VM that another had before, of those that may have one. */
export function reuseCounts(): { readonly booted: number; readonly reused: number } {
  return { booted: pool?.booted ?? 0, reused: pool?.reused ?? 0 };
}

/** Closes all VMs that wait for their next machine, and says how many. */
export function drainPool(): number {
  return pool?.drain() ?? 0;
}
