import { KVM_STATE_NESTED } from "../../kvm/abi/constants.ts";
import { CapabilityError } from "../../kvm/errors.ts";
import type { StatsFd } from "../../kvm/stats_fd.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";

/** How often a CPU has entered the guest of its guest, among KVM's statistics (`nested_run`). */
const ENTRIES = "nested_run";

/**
 * Knows whether a CPU may have been in the guest of a guest hypervisor since it was looked at last. Then it is taken out of
 * it before anything is set, and KVM forgets what it has made of that hypervisor's page tables: they are about to change
 * behind its back.
 */
export class NestedWatch implements Disposable {
  /** Whether it is in there, or has to do with it in another way that is still to be undone. */
  isInside = false;
  /** Whether it has VMX, which is switched on and off without an entry. */
  readonly isVmx: boolean;
  readonly #statistics: StatsFd | undefined;
  #entries: bigint | undefined;

  /** Of a CPU that has SVM or VMX. */
  constructor(vcpu: Vcpu) {
    this.isVmx = vcpu.nested.getNestedState().format === KVM_STATE_NESTED.FORMAT_VMX;
    this.#statistics = statisticsOf(vcpu);
  }

  /** Whether it may have been inside since it was asked last. */
  look(): boolean {
    const before = this.#entries;
    this.#entries = this.#statistics?.value(ENTRIES);
    return this.isInside || this.#entries === undefined || this.#entries !== before;
  }

  /** Closes its statistics. */
  [Symbol.dispose](): void {
    this.#statistics?.[Symbol.dispose]();
  }
}

/** Undefined where the kernel does not count. */
function statisticsOf(vcpu: Vcpu): StatsFd | undefined {
  try {
    const found = vcpu.getStatsFd();
    if (found.statistics.some(({ name }) => name === ENTRIES)) return found;
    found[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof CapabilityError)) throw error;
  }
  return undefined;
}
