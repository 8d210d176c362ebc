import type { Kvm } from "../../kvm/kvm.ts";
import {
  type CpuidAnswer,
  type CpuidEntry,
  cpuidEntry,
  cpuidFeatureNames,
  cpuidVendor,
  hasCpuidFeature,
} from "../../x86/cpuid/cpuid.ts";
import type { CpuidFeature } from "../../x86/cpuid/cpuid_features.ts";
import {
  cpuidBrand,
  cpuidHypervisor,
  type CpuidProcessor,
  cpuidProcessor,
} from "../../x86/cpuid/cpuid_strings.ts";

/**
 * What CPUID answers, by name: of a machine's vCPU (`vm.cpuid`), or of what a host supports
 * ({@linkcode supportedCpuid}).
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`hlt`, { cpuid: { hide: ["avx2"], brand: "One of a kind" } });
 * console.log(vm.cpuid.has("avx2"), vm.cpuid.brand, vm.cpuid.leaf(0)?.eax); // false One of a kind 16
 * ```
 */
export class Cpuid {
  readonly #ask: () => readonly CpuidEntry[];

  /**
   * CPUID as entries have it.
   *
   * @param ask Gives the entries; it is asked anew for every property.
   */
  constructor(ask: () => readonly CpuidEntry[]) {
    this.#ask = ask;
  }

  /** All entries. */
  get entries(): readonly CpuidEntry[] {
    return this.#ask();
  }

  /**
   * Whether there is a feature, by its name in `/proc/cpuinfo`: `"avx2"`, `"la57"`.
   *
   * @throws {RangeError} When there is none of that name.
   */
  has(feature: CpuidFeature): boolean {
    return hasCpuidFeature(this.#ask(), feature);
  }

  /** The names of all features that there are. */
  get features(): readonly CpuidFeature[] {
    const entries = this.#ask();
    return cpuidFeatureNames().filter((name) => hasCpuidFeature(entries, name));
  }

  /** The answer to a leaf and a subleaf; undefined where there is no entry for it. */
  leaf(leaf: number, subleaf: number = 0): CpuidAnswer | undefined {
    const entry = cpuidEntry(this.#ask(), leaf, subleaf);
    if (entry === undefined) return undefined;
    const { eax, ebx, ecx, edx } = entry;
    return { eax, ebx, ecx, edx };
  }

  /** The vendor: `"GenuineIntel"`, `"AuthenticAMD"`. */
  get vendor(): string {
    return cpuidVendor(this.#ask());
  }

  /** The brand string; undefined where there is none. */
  get brand(): string | undefined {
    return cpuidBrand(this.#ask());
  }

  /** The hypervisor's signature; undefined where there is none. */
  get hypervisor(): string | undefined {
    return cpuidHypervisor(this.#ask());
  }

  /** The family, the model and the stepping. */
  get processor(): CpuidProcessor {
    return cpuidProcessor(this.#ask());
  }
}

/** What a host's KVM offers to guests: {@linkcode Kvm.getSupportedCpuid} by name. */
export function supportedCpuid(kvm: Kvm): Cpuid {
  const entries = kvm.getSupportedCpuid();
  return new Cpuid(() => entries);
}

/** What a host's KVM emulates although its CPU lacks it: {@linkcode Kvm.getEmulatedCpuid} by name. */
export function emulatedCpuid(kvm: Kvm): Cpuid {
  const entries = kvm.getEmulatedCpuid();
  return new Cpuid(() => entries);
}
