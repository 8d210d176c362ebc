import type { Kvm } from "../../kvm/kvm.ts";
import { type CpuidEntry, withCpuidFeatures } from "../../x86/cpuid/cpuid.ts";
import type { CpuidFeature } from "../../x86/cpuid/cpuid_features.ts";
import { cpuidHypervisor } from "../../x86/cpuid/cpuid_strings.ts";

/**
 * Features that KVM lists though they work by its local APIC alone (api.rst 9.1, "Local APIC features", and those of
 * KVM's own that it refuses, or that reach nobody, without one). `apic` KVM itself derives from IA32_APIC_BASE.
 */
export const FEATURES_OF_LOCAL_APIC = [
  "apic",
  "x2apic",
  "tsc_deadline_timer",
  "arat",
  "kvm_async_pf",
  "kvm_async_pf_vmexit",
  "kvm_async_pf_int",
  "kvm_pv_eoi",
  "kvm_pv_unhalt",
  "kvm_pv_send_ipi",
  "kvm_pv_sched_yield",
  "kvm_msi_ext_dest_id",
] as const satisfies readonly CpuidFeature[];

/**
 * What CPUID answers by default: all that KVM supports, where that does not contradict the machine. Where there are a
 * hypervisor's leaves, the bit says so; what needs a local APIC is there with one.
 *
 * @param supported What KVM supports.
 */
export function defaultCpuid(
  kvm: Kvm,
  supported: readonly CpuidEntry[],
  hasLocalApic: boolean,
): CpuidEntry[] {
  const ofLocalApic = hasLocalApic
    // Linux before 6.14 does not list it, though it is there (api.rst 9.1).
    ? { tsc_deadline_timer: kvm.capability("KVM_CAP_TSC_DEADLINE_TIMER") !== 0 }
    : Object.fromEntries(FEATURES_OF_LOCAL_APIC.map((name) => [name, false]));
  const hypervisor = cpuidHypervisor(supported) !== undefined;
  return withCpuidFeatures(supported, { hypervisor, ...ofLocalApic });
}
