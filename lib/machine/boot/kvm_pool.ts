import { processCalls } from "../../ffi/process_calls.ts";
import type { Libc } from "../../ffi/libc.ts";
import type { IoctlName } from "../../kvm/abi/ioctls.ts";
import { Kvm } from "../../kvm/kvm.ts";
import type { GivenVcpu, Vcpu } from "../../kvm/vcpu.ts";
import type { GivenVm, Vm } from "../../kvm/vm.ts";
import { cr4Flags, eferFlags } from "../../x86/registers/flag_tables.ts";
import { getFlag } from "../../x86/registers/flags.ts";
import { MSRS } from "../../x86/msrs/msrs.ts";
import { checkFeatures } from "../host/host_checks.ts";
import type { Irqchip } from "../interrupts/irqchip.ts";
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

/** What VMs of one shape have in common. */
interface Shape extends HostFacts {
  /** How the CPU and the controllers are when KVM has made them; undefined before a second machine of the shape. */
  pristine?: { readonly shape: CpuShape; readonly cpu: SavedCpuState; readonly vm: SavedVmState };
}

/** A VM with its vCPU, which waits for its next machine. */
interface Idle {
  readonly key: Irqchip;
  readonly kvm: number;
  readonly vm: GivenVm;
  readonly vcpu: GivenVcpu;
}

/**
 * VMs of machines that were disposed, which the next machines of the same shape get: without memory, and with all state of
 * CPU and controllers as KVM makes it. The shape is all that cannot be changed afterwards.
 */
export class KvmPool {
  readonly #libc: Libc;
  readonly #shapes = new Map<Irqchip, Shape>();
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
    const key = plan.irqchip;
    const at = this.#idle.findLastIndex((idle) => idle.key === key);
    const shape = this.#shapes.get(key);
    if (at < 0 || shape?.pristine === undefined) return undefined;
    const { cpuid, tssIsAvailable, pristine } = shape;
    checkFeatures(cpuid, plan.state);
    const [idle] = this.#idle.splice(at, 1);
    const kvm = cleanup.use(Kvm.take(this.#libc, idle.kvm));
    const vm = cleanup.use(kvm.takeVm(idle.vm));
    const vcpu = cleanup.use(vm.takeVcpu(idle.vcpu));
    restoreVm(vm, pristine.vm.filter(([piece]) => CONTROLLERS.includes(piece)));
    restoreCpu(statefulCpu(kvm, vcpu, plan, tssIsAvailable), pristine.cpu, { isOutside: true });
    restoreVm(vm, pristine.vm.filter(([piece]) => !CONTROLLERS.includes(piece)));
    const slots = new SlotTable(this.#libc, vm, memory, undefined, false);
    this.booted++;
    this.reused++;
    vm.asked.forget();
    vcpu.asked.forget();
    return {
      kvm,
      vm,
      vcpus: [vcpu],
      slots,
      dirtyPages: undefined,
      cpuid,
      tssIsAvailable,
      isReused: true,
    };
  }

  /** Notes parts that KVM has just made: what a second one of a shape is like, all others of it are to be like. */
  created(plan: BootPlan, { kvm, vm, vcpus: [vcpu], cpuid, tssIsAvailable }: KvmParts): void {
    this.booted++;
    const key = plan.irqchip;
    const shape = this.#shapes.get(key);
    if (shape === undefined) this.#shapes.set(key, { cpuid, tssIsAvailable });
    else if (shape.pristine === undefined) {
      const cpu = statefulCpu(kvm, vcpu, plan, tssIsAvailable);
      const made = cpuShape(cpu);
      shape.pristine = {
        shape: made,
        cpu: saveCpu(cpu, made),
        vm: saveVm(vm, [...CONTROLLERS, INTERVAL_TIMER, KVM_CLOCK], plan),
      };
    }
    vm.asked.forget();
    vcpu.asked.forget();
  }

  /**
   * Keeps parts of a machine that is disposed, if nothing is in them that would be left there. They are dead then.
   *
   * @returns Whether they were kept: else they are still their owner's.
   */
  keep(plan: BootPlan, { kvm, vm, vcpus: [vcpu] }: KvmParts): boolean {
    const key = plan.irqchip;
    const pristine = this.#shapes.get(key)?.pristine;
    if (pristine === undefined) return false;
    try {
      if (!canBeKept(vm, vcpu, pristine.shape)) return false;
      vm.deleteMemorySlots();
      const localApic = pristine.cpu.find(([{ name }]) => name === "local APIC");
      if (localApic !== undefined) {
        // What asks for the MP state takes an INIT that waits, and the timer would go on.
        vcpu.events.getMpState();
        vcpu.call("KVM_SET_LAPIC", localApic[1]);
      }
    } catch {
      // An emulated machine may have ended: then there is nothing to be kept, and disposing fails for nobody.
      return false;
    }
    this.#releaseAtEnd();
    while (this.#idle.length >= MOST_IDLE) this.#close(this.#idle.shift()!);
    this.#idle.push({ key, vcpu: vcpu.give(), vm: vm.give(), kvm: kvm.give() });
    return true;
  }

  /** Closes all that wait, and says how many. */
  drain(): number {
    const idle = this.#idle.splice(0);
    for (const each of idle) this.#close(each);
    return idle.length;
  }

  #close({ kvm, vm, vcpu }: Idle): void {
    using owner = Kvm.take(this.#libc, kvm);
    using machine = owner.takeVm(vm);
    using _cpu = machine.takeVcpu(vcpu);
  }

  #releaseAtEnd(): void {
    if (this.#endsWithThread) return;
    this.#endsWithThread = true;
    // Where many files of tests run in one process, each has a thread's state of its own.
    globalThis.addEventListener("unload", () => this.drain());
  }
}

function statefulCpu(
  kvm: Kvm,
  vcpu: Vcpu,
  { irqchip }: BootPlan,
  tssIsAvailable: boolean,
): StatefulCpu {
  const store = new RegisterStore(vcpu, tssIsAvailable);
  return { number: 0, vcpu, store, machine: { kvm, irqchip } };
}

/** Whether machines of a plan are such that all that a guest leaves in them is known. */
function hasReusableShape(plan: BootPlan): boolean {
  const { starts, cpuid, irqchip, pit, hasSmm, dirtyPages, capabilities } = plan;
  return starts.length === 1 && cpuid.isPlain && irqchip !== "split" && !pit && !hasSmm &&
    dirtyPages === undefined && capabilities.length === 0;
}

function canBeKept(vm: Vm, vcpu: Vcpu, shape: CpuShape): boolean {
  const asked = [...vm.asked.made, ...vcpu.asked.made];
  if (!vcpu.isIntact || !asked.every((name) => RESTORED.has(name))) return false;
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
