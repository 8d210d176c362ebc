import type { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";

/**
 * The levels under a machine: every ioctl of KVM, typed. They stay the machine's: they cannot be disposed, nor
 * the vCPU run.
 */
export interface KvmLevels {
  /** `/dev/kvm`. */
  readonly kvm: Omit<Kvm, typeof Symbol.dispose>;
  /** The machine's VM. */
  readonly vm: Omit<Vm, typeof Symbol.dispose>;
  /** The machine's CPU. */
  readonly vcpu: Omit<Vcpu, typeof Symbol.dispose | "run" | "kvmRun">;
}
