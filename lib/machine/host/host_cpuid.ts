import { HostError } from "../../ffi/host_error.ts";
import type { CpuState } from "../../x86/cpu_state.ts";
import { type CpuidEntry, cpuidVendor, hasCpuidFeature } from "../../x86/cpuid.ts";
import { cr4Flags } from "../../x86/flag_tables.ts";
import { getFlag } from "../../x86/flags.ts";

/** AMD, and Hygon, who build AMD's CPUs. */
const AMD_VENDORS: readonly string[] = ["AuthenticAMD", "HygonGenuine"];

/**
 * Refuses a boot state that needs what this host's CPU, or its KVM, lacks.
 *
 * @param cpuid What CPUID answers in the guest.
 * @throws {HostError} When it lacks 5-level paging, and the state has it.
 */
export function refuseMissingFeatures(
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

/** Whether it is the CPUID of a processor of AMD's. */
export function isAmd(cpuid: readonly CpuidEntry[]): boolean {
  return AMD_VENDORS.includes(cpuidVendor(cpuid));
}
