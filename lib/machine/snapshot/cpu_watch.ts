import { KVM_STATE_NESTED } from "../../kvm/abi/constants.ts";
import { CapabilityError } from "../../kvm/errors.ts";
import type { StatsFd } from "../../kvm/stats_fd.ts";
import { isAmd } from "../../x86/cpuid/cpuid.ts";
import type { CpuShape, SavedCpuState, StatefulCpu } from "./cpu_state.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

/**
 * KVM's statistics of a vCPU. Of exits from the guest it counts all, and some by kind, each of which has one of these
 * kinds (arch/x86/kvm/x86.c, svm/svm.c, vmx/vmx.c, mmu/mmu_internal.h): faults of second-level page tables, port
 * accesses, HLT, interrupts of the host's. With VMX, KVM emulates what a processor cannot run, of any kind, without an exit
 * (`handle_invalid_guest_state`); with SVM only what the exit is about: an access to memory, the step over a HLT.
 */
const COUNTED = {
  exits: "exits",
  plain: ["pf_taken", "io_exits", "halt_exits", "irq_exits"],
  emulated: "insn_emulation",
  /** How often it has entered the guest of its guest. */
  nested: "nested_run",
} as const;
const NAMES = [COUNTED.exits, COUNTED.emulated, COUNTED.nested, ...COUNTED.plain];
const PLAIN_FROM = NAMES.indexOf(COUNTED.plain[0]);

/**
 * Knows of a CPU what a guest can have done since it was looked at last.
 *
 * Where it may have been in the guest of a guest hypervisor, it is taken out of it before anything is set, and KVM forgets
 * what it has made of that hypervisor's page tables: they are about to change behind its back.
 *
 * Where each of its exits was of a kind that changes nothing but what is restored each time, it has written none of
 * the registers whose writes KVM intercepts in all guests: see {@linkcode CpuPiece.changesByExit}.
 */
export class CpuWatch implements Disposable {
  /** Whether it is in a nested guest, or has to do with one in another way that is still to be undone. */
  isInside = false;
  /** Whether it has VMX, which is switched on and off without an entry. */
  readonly isVmx: boolean;
  readonly #vcpu: Vcpu;
  readonly #isNested: boolean;
  /** Whether no interrupt controller of the kernel's changes anything, and exits are counted by kinds. */
  readonly #isCounted: boolean;
  /** Whether what is emulated is part of an exit. */
  readonly #emulatesByExit: boolean;
  readonly #statistics: StatsFd | undefined;
  readonly #read: () => Float64Array;
  #before: Float64Array | undefined;
  #changes = -1;
  /** The state that the CPU was made, as far as that changes by an exit. */
  #state: SavedCpuState | undefined;

  /** Of a CPU whose guest may have run. */
  constructor({ vcpu, machine: { kvm, irqchip } }: StatefulCpu, { isNested, isHyperv }: CpuShape) {
    this.#vcpu = vcpu;
    this.#isNested = isNested;
    this.isVmx = isNested &&
      vcpu.nested.getNestedState().format === KVM_STATE_NESTED.FORMAT_VMX;
    this.#emulatesByExit = isAmd(kvm.getSupportedCpuid());
    this.#statistics = statisticsOf(vcpu);
    const known = this.#statistics?.statistics.map(({ name }) => name) ?? [];
    const counted = NAMES.filter((name) => known.includes(name));
    this.#isCounted = irqchip === false && !isHyperv && counted.length === NAMES.length;
    // Older kernels do not count all of them.
    this.#read = known.includes(COUNTED.nested)
      ? this.#statistics!.reader(this.#isCounted ? NAMES : [COUNTED.nested])
      : () => UNKNOWN;
  }

  /** Looks. @returns Whether it may have been in a nested guest since it was looked at last. */
  look(): boolean {
    const now = this.#read();
    const before = this.#before;
    const entries = this.#isCounted ? NAMES.indexOf(COUNTED.nested) : 0;
    const wasInside = this.#isNested &&
      (this.isInside || now === UNKNOWN || now[entries] !== before?.[entries]);
    if (wasInside || before === undefined || !this.#isQuiet(before, now)) this.#state = undefined;
    this.#before ??= new Float64Array(now.length);
    this.#before.set(now);
    this.#changes = this.#vcpu.stateChanges;
    return wasInside;
  }

  /** Whether the CPU has all of a state that changes by an exit, as far as the latest look tells. */
  stillHas(state: SavedCpuState): boolean {
    return this.#state === state;
  }

  /** Notes which state it has now. */
  has(state: SavedCpuState): void {
    this.#state = state;
    this.#changes = this.#vcpu.stateChanges;
  }

  #isQuiet(before: Float64Array, now: Float64Array): boolean {
    if (!this.#isCounted || this.#changes !== this.#vcpu.stateChanges) return false;
    const exits = now[0] - before[0];
    const emulated = now[1] - before[1];
    let plain = 0;
    for (let index = PLAIN_FROM; index < now.length; index++) plain += now[index] - before[index];
    return exits === plain && (emulated === 0 || this.#emulatesByExit);
  }

  /** Closes its statistics. */
  [Symbol.dispose](): void {
    this.#statistics?.[Symbol.dispose]();
  }
}

const UNKNOWN = new Float64Array(0);

/** Undefined where the kernel does not count. */
function statisticsOf(vcpu: Vcpu): StatsFd | undefined {
  try {
    return vcpu.getStatsFd();
  } catch (error) {
    if (!(error instanceof CapabilityError)) throw error;
    return undefined;
  }
}
