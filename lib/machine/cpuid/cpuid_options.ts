import { HostError } from "../../ffi/errors.ts";
import type { Kvm } from "../../kvm/kvm.ts";
import { type CpuidEntry, hasCpuidFeature, withCpuidFeatures } from "../../x86/cpuid/cpuid.ts";
import type { CpuidFeature } from "../../x86/cpuid/cpuid_features.ts";
import { defaultCpuid, FEATURES_OF_LOCAL_APIC } from "./default_cpuid.ts";
import {
  type CpuidProcessor,
  withCpuidBrand,
  withCpuidHypervisor,
  withCpuidProcessor,
  withCpuidVendor,
  withoutCpuidPmu,
} from "../../x86/cpuid/cpuid_strings.ts";

/**
 * What CPUID answers in a machine, where that is not simply all that KVM supports. Features go by their names
 * in `/proc/cpuinfo`.
 *
 * By default the bit `hypervisor` is set, as KVM's own leaves (0x40000000 and on) are there. Without a local APIC in the
 * kernel (the option `irqchip`) there is none to be seen: `apic`, `x2apic`, `tsc_deadline_timer`, `arat` and those of
 * KVM's own features that need one are clear, and so is the bit of IA32_APIC_BASE that enables it; with one,
 * `tsc_deadline_timer` is set, whether KVM lists it or not.
 */
export interface CpuidOptions extends Partial<CpuidProcessor> {
  /**
   * Features that the guest shall not see. Nothing else is hidden with them: name `avx2` beside `avx` where a
   * CPU without either is meant. KVM refuses the guest most of what belongs to a hidden feature: bits of CR4,
   * MSRs.
   */
  readonly hide?: readonly CpuidFeature[];
  /**
   * Features that the guest must see: what KVM can emulate is switched on, what it lacks, and what needs a local APIC
   * where there is none, is refused.
   */
  readonly show?: readonly CpuidFeature[];
  /** Features that the guest shall see, whether KVM supports them or not: `apic`, where the test plays a local APIC. */
  readonly force?: readonly CpuidFeature[];
  /** The brand string, at most 48 characters: leaves 0x80000002 to 0x80000004. */
  readonly brand?: string;
  /** The vendor, twelve characters: `"GenuineIntel"`. */
  readonly vendor?: string;
  /**
   * The hypervisor's signature, at most twelve characters, and the bit that says that there is one; or
   * `false`, for a guest that shall not know of one. By default KVM's signature, with the bit.
   */
  readonly hypervisor?: string | false;
  /** `false` for a CPU without performance counters: leaf 0xA is zeros. */
  readonly pmu?: boolean;
  /** What all this is applied to, in place of what KVM supports. */
  readonly entries?: readonly CpuidEntry[];
}

/** {@linkcode CpuidOptions} that were found sound. */
export interface CpuidPlan {
  /** Whether nothing was asked for. */
  readonly isPlain: boolean;
  /** What was asked for, as text: where it is the same, CPUID answers the same. */
  readonly asked: string;
  /** Whether the kernel has local APICs. */
  readonly hasLocalApic: boolean;
  /** Whether IA32_APIC_BASE enables one: the kernel's, or one that the test plays. */
  readonly enablesLocalApic: boolean;
  /** What is edited, in place of what KVM supports. */
  readonly entries: readonly CpuidEntry[] | undefined;
  /** Features that the host must have. */
  readonly show: readonly CpuidFeature[];
  /** What is done to the entries, in order. */
  readonly edits: readonly ((entries: readonly CpuidEntry[]) => CpuidEntry[])[];
}

/**
 * Reads the options, before the host is asked.
 *
 * @param hasLocalApic Whether the kernel has a local APIC for each CPU.
 * @throws {RangeError} When there is no feature of a name, one is to be both hidden and shown, or a string
 *   fits nowhere.
 * @throws {TypeError} When a feature is to be shown that needs a local APIC where there is none.
 */
export function planCpuid(options: CpuidOptions, hasLocalApic: boolean): CpuidPlan {
  const { hide = [], show = [], force = [], entries, brand, vendor, hypervisor, pmu } = options;
  const both = hide.find((name) => show.includes(name) || force.includes(name));
  if (both !== undefined) {
    throw new RangeError(`Cannot both hide and show the CPUID feature "${both}"`);
  }
  const needsLocalApic = hasLocalApic || entries !== undefined
    ? undefined
    : FEATURES_OF_LOCAL_APIC.find((name) => show.includes(name));
  if (needsLocalApic !== undefined) {
    throw new TypeError(
      `Cannot show the CPUID feature ${needsLocalApic}: it needs a local APIC, and the machine has none. Boot it with ` +
        "`irqchip: true`, or have the guest see it all the same with `cpuid: { force: […] }`.",
    );
  }
  const edits: CpuidPlan["edits"][number][] = [
    (each) =>
      withCpuidFeatures(each, { ...flagged(hide, false), ...flagged([...show, ...force], true) }),
  ];
  if (brand !== undefined) edits.push((each) => withCpuidBrand(each, brand));
  if (vendor !== undefined) edits.push((each) => withCpuidVendor(each, vendor));
  if (hypervisor !== undefined) edits.push((each) => withCpuidHypervisor(each, hypervisor));
  if (pmu === false) edits.push(withoutCpuidPmu);
  // What they refuse, they refuse whatever is edited.
  for (const edit of edits) edit([]);
  const processor = Object.fromEntries(
    (["family", "model", "stepping"] as const)
      .filter((name) => options[name] !== undefined)
      .map((name) => [name, options[name]]),
  );
  if (Object.keys(processor).length > 0) {
    edits.push((each) => withCpuidProcessor(each, processor));
  }
  const enablesLocalApic = hasLocalApic || force.includes("apic");
  const isPlain = Object.values(options).every((each) => each === undefined);
  const asked = isPlain ? "" : JSON.stringify(options);
  return { isPlain, asked, hasLocalApic, enablesLocalApic, entries, show, edits };
}

/**
 * What CPUID answers by a plan.
 *
 * @param supported What KVM supports.
 * @throws {HostError} When a feature is to be shown that KVM neither supports nor emulates.
 * @throws {RangeError} When the processor's model does not go with its family.
 */
export function editedCpuid(
  kvm: Kvm,
  supported: readonly CpuidEntry[],
  { hasLocalApic, entries, show, edits }: CpuidPlan,
): readonly CpuidEntry[] {
  checkSupported(kvm, supported, show);
  return edits.reduce(
    (each, edit) => edit(each),
    entries ?? defaultCpuid(kvm, supported, hasLocalApic),
  );
}

function checkSupported(
  kvm: Kvm,
  supported: readonly CpuidEntry[],
  show: readonly CpuidFeature[],
): void {
  const lacking = show.filter((name) => !hasCpuidFeature(supported, name));
  if (lacking.length === 0) return;
  const emulated = kvm.capability("KVM_CAP_EXT_EMUL_CPUID") === 0 ? [] : kvm.getEmulatedCpuid();
  const refused = lacking.filter((name) =>
    !hasCpuidFeature(emulated, name) && !isBesideTheList(kvm, name)
  );
  if (refused.length === 0) return;
  throw new HostError(
    `Cannot show the CPUID feature${refused.length === 1 ? "" : "s"} ${refused.join(", ")}: ` +
      "this host's CPU, or its KVM, neither supports nor emulates that. Skip the test there with " +
      `requires({ ${
        refused.map((name) => `${/^\d/.test(name) ? `"${name}"` : name}: true`).join(", ")
      } }, …), ` +
      "or have the guest see it all the same with `cpuid: { force: […] }`.",
  );
}

/** What KVM has although its list says nothing of it (Documentation/virt/kvm/api.rst, 4.46). */
function isBesideTheList(kvm: Kvm, name: CpuidFeature): boolean {
  if (name === "hypervisor") return true;
  return name === "tsc_deadline_timer" && kvm.capability("KVM_CAP_TSC_DEADLINE_TIMER") !== 0;
}

function flagged(
  names: readonly CpuidFeature[],
  isShown: boolean,
): { readonly [Name in CpuidFeature]?: boolean } {
  return Object.fromEntries(names.map((name) => [name, isShown]));
}
