import type { Kvm } from "../kvm/kvm.ts";
import type { KvmRunPage } from "../kvm/kvm_run_page.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";

/** What `kvm_run` says of a vCPU at its latest exit, beside the exit itself: see {@linkcode KvmRunPage}. */
export type KvmRunState = Readonly<
  Pick<KvmRunPage, "readyForInterruptInjection" | "ifFlag" | "cr8" | "apicBase">
>;

/**
 * The levels under a machine: every ioctl of KVM, typed. They stay the machine's: they cannot be disposed, nor
 * the vCPU run.
 */
export interface KvmLevels {
  /** `/dev/kvm`. */
  readonly kvm: Omit<Kvm, typeof Symbol.dispose>;
  /** The machine's VM. */
  readonly vm: Omit<Vm, typeof Symbol.dispose>;
  /** The machine's CPU. Of `kvm_run` it has what the kernel says beside the exit. */
  readonly vcpu: Omit<Vcpu, typeof Symbol.dispose | "run" | "kvmRun"> & {
    readonly kvmRun: KvmRunState;
  };
}
