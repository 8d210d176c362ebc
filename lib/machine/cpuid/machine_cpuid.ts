import type { Kvm } from "../../kvm/kvm.ts";
import { cpuidBytesOf, type SharedCpuid } from "../../kvm/vcpu/vcpu_cpuid.ts";
import { type CpuidEntry, isAmd, withCpuidTopology } from "../../x86/cpuid/cpuid.ts";
import { type CpuidPlan, editedCpuid } from "./cpuid_options.ts";

/** What CPUID answers in a machine. */
export interface MachineCpuid {
  /** The answers, but for what differs from CPU to CPU. */
  readonly entries: readonly CpuidEntry[];
  /** Those of each CPU, as a `struct kvm_cpuid2`. */
  readonly ofCpus: readonly Uint8Array<ArrayBuffer>[];
  /** Whether the host's processor is one of AMD's. */
  readonly isAmd: boolean;
}

/** What was answered in machines without options of their own, by what KVM supports: most are of that kind. */
const ofPlainMachines = new WeakMap<SharedCpuid, Map<string, MachineCpuid>>();

/**
 * What CPUID answers by a plan in a machine of so many CPUs.
 *
 * @throws As {@linkcode editedCpuid} does.
 */
export function machineCpuid(kvm: Kvm, plan: CpuidPlan, cpuCount: number): MachineCpuid {
  const supported = kvm.getSupportedCpuid();
  if (!plan.isPlain) return answers(kvm, supported, plan, cpuCount);
  const known = ofPlainMachines.get(supported) ?? new Map<string, MachineCpuid>();
  ofPlainMachines.set(supported, known);
  const kind = `${cpuCount} CPUs, ${plan.hasLocalApic ? "with" : "without"} local APICs`;
  const found = known.get(kind) ?? answers(kvm, supported, plan, cpuCount);
  known.set(kind, found);
  return found;
}

function answers(
  kvm: Kvm,
  supported: SharedCpuid,
  plan: CpuidPlan,
  processors: number,
): MachineCpuid {
  const entries = editedCpuid(kvm, supported, plan);
  const ofCpus = Array.from(
    { length: processors },
    (_, apicId) => cpuidBytesOf(withCpuidTopology(entries, { apicId, processors })),
  );
  return { entries, ofCpus, isAmd: isAmd(supported) };
}
