import { HostError } from "../../ffi/errors.ts";
import { CapabilityError } from "../../kvm/errors.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import type { CpuState } from "../../x86/boot/cpu_state.ts";
import { type CpuidEntry, hasCpuidFeature } from "../../x86/cpuid/cpuid.ts";
import { cr4Flags } from "../../x86/registers/flag_tables.ts";
import { getFlag } from "../../x86/registers/flags.ts";
import { emulatorLacks } from "./emulated_machine.ts";

/**
 * Refuses a boot state that needs what this host's CPU, or its KVM, lacks.
 *
 * @param cpuid What CPUID answers in the guest.
 * @throws {HostError} When it lacks 5-level paging, and the state has it.
 */
export function checkFeatures(
  cpuid: readonly CpuidEntry[],
  { specialRegisters }: CpuState,
): void {
  if (!getFlag(cr4Flags, "la57", specialRegisters.cr4)) return;
  if (hasCpuidFeature(cpuid, "la57")) return;
  throw new HostError(
    "Cannot boot with 5 levels of page tables: this host's CPU, or its KVM, has no LA57. " +
      "Give `levels: 4`, show it where the `cpuid` option hides it, or run on a CPU that has it; the nested machine " +
      "of `vmexit test` does.",
  );
}

/** @throws {RangeError} When this host's KVM does not take as many CPUs in a VM. */
export function checkCpuCount(kvm: Kvm, count: number): void {
  if (count === 1) return;
  // Kernels without KVM_CAP_MAX_VCPUS take as many as they recommend (api.rst 4.7).
  const most = kvm.capability("KVM_CAP_MAX_VCPUS") || kvm.capability("KVM_CAP_NR_VCPUS");
  if (count <= most) return;
  throw new RangeError(
    `Cannot boot ${count} CPUs: this host's KVM takes up to ${most} in a VM (KVM_CAP_MAX_VCPUS)`,
  );
}

/** @throws {CapabilityError} When this host's KVM has no system-management mode. */
export function checkHasSmm(kvm: Kvm): void {
  if (kvm.capability("KVM_CAP_X86_SMM") === 0) {
    throw new CapabilityError("KVM_SMI", "KVM_CAP_X86_SMM");
  }
}

/** @throws {HostError} Where single steps do not trap, so that CPUs cannot be interleaved. */
export function checkHasSingleStep(): void {
  if (!emulatorLacks("singleStep")) return;
  throw new HostError(
    "Cannot interleave CPUs by a seed: an interleaving asked for on a host without single-step. In this emulated " +
      "machine single steps do not trap. Skip the test there with requires({ singleStep: true }, …).",
  );
}
