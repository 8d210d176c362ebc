import { HostError } from "../../ffi/host_error.ts";
import { kvm_cpuid2, kvm_cpuid_entry2 } from "../../kvm/abi/structs/cpuid.ts";
import type { CpuState } from "../../x86/cpu_state.ts";
import { cr4Flags } from "../../x86/flag_tables.ts";
import { getFlag } from "../../x86/flags.ts";

const COUNT = kvm_cpuid2.offsetOf("nent");
const FUNCTION = kvm_cpuid_entry2.offsetOf("function");
const EBX = kvm_cpuid_entry2.offsetOf("ebx");
const ECX = kvm_cpuid_entry2.offsetOf("ecx");

/** CPUID leaf 0 has the vendor: "Auth" of AuthenticAMD, "Hygo" of HygonGenuine. */
const VENDOR = 0;
const AMD_VENDORS: ReadonlySet<number> = new Set([0x68747541, 0x6f677948]);

/** CPUID leaf 7 says in bit 16 of ECX whether there is 5-level paging (Intel SDM Vol. 2A, CPUID). */
const EXTENDED_FEATURES = 7;
const LA57 = 1 << 16;

/**
 * Refuses a boot state that needs what this host's CPU, or its KVM, lacks.
 *
 * @param cpuid What KVM supports: a `struct kvm_cpuid2`.
 * @throws {HostError} When it lacks 5-level paging, and the state has it.
 */
export function refuseMissingFeatures(
  cpuid: Uint8Array<ArrayBuffer>,
  { specialRegisters }: CpuState,
): void {
  if (!getFlag(cr4Flags, "la57", specialRegisters.cr4)) return;
  if ((cpuidRegister(cpuid, EXTENDED_FEATURES, ECX) & LA57) !== 0) return;
  throw new HostError(
    "Cannot boot with 5 levels of page tables: this host's CPU, or its KVM, has no LA57. " +
      "Give `levels: 4`, show it where the `cpuid` option hides it, or run on a CPU that has it; the nested machine " +
      "of `vmexit test` does.",
  );
}

/**
 * Whether the vendor string, whose first four letters are in EBX, is that of AMD or of Hygon, who build AMD's
 * CPUs.
 */
export function isAmd(cpuid: Uint8Array<ArrayBuffer>): boolean {
  return AMD_VENDORS.has(cpuidRegister(cpuid, VENDOR, EBX));
}

/**
 * A register of the first subleaf of a leaf, or 0 where there is none. Every boot asks: the whole is not
 * decoded for it.
 */
function cpuidRegister(cpuid: Uint8Array<ArrayBuffer>, leaf: number, register: number): number {
  const view = new DataView(cpuid.buffer, cpuid.byteOffset, cpuid.byteLength);
  const count = view.getUint32(COUNT, true);
  for (let index = 0; index < count; index++) {
    const entry = kvm_cpuid2.size + index * kvm_cpuid_entry2.size;
    if (view.getUint32(entry + FUNCTION, true) === leaf) {
      return view.getUint32(entry + register, true);
    }
  }
  return 0;
}
