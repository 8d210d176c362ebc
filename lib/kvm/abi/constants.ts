import * as enlightenments from "./constants/enlightenments.ts";
import * as exits from "./constants/exits.ts";
import * as interrupts from "./constants/interrupts.ts";
import * as msrs from "./constants/msrs.ts";
import * as vcpu from "./constants/vcpu.ts";
import * as vm from "./constants/vm.ts";

export * from "./constants/enlightenments.ts";
export * from "./constants/exits.ts";
export * from "./constants/interrupts.ts";
export * from "./constants/msrs.ts";
export * from "./constants/vcpu.ts";
export * from "./constants/vm.ts";

/** Constants whose names in the header begin alike, by the rest of the name. */
export type ConstantGroup = Readonly<Record<string, number | bigint>>;

const FAMILIES: readonly Readonly<Record<string, ConstantGroup>>[] = [
  enlightenments,
  exits,
  interrupts,
  msrs,
  vcpu,
  vm,
];

/** Every constant of the ABI beside ioctls, capabilities and exit reasons, by the header's whole name. */
export const CONSTANTS: ReadonlyMap<string, number | bigint> = new Map(
  FAMILIES.flatMap((family) =>
    Object.entries(family).flatMap(([prefix, group]) =>
      Object.entries(group).map(([name, value]): [string, number | bigint] => [
        `${prefix}_${name}`,
        value,
      ])
    )
  ),
);

/** The kernel version that brought a constant, of those that are newer than 6.1. */
export const CONSTANT_SINCE: Readonly<Record<string, string>> = {
  KVM_MSR_EXIT_REASON_VALID_MASK: "6.2",
  KVM_MSR_FILTER_RANGE_VALID_MASK: "6.2",
  KVM_MSR_FILTER_VALID_MASK: "6.2",
  KVM_XEN_HVM_CONFIG_RUNSTATE_UPDATE_FLAG: "6.2",
  KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG: "6.2",
  KVM_PMU_EVENT_FLAG_MASKED_EVENTS: "6.3",
  KVM_PMU_EVENT_FLAGS_VALID_MASK: "6.3",
  KVM_PMU_MASKED_ENTRY_EVENT_SELECT: "6.3",
  KVM_PMU_MASKED_ENTRY_EXCLUDE: "6.3",
  KVM_PMU_MASKED_ENTRY_UMASK_MASK: "6.3",
  KVM_PMU_MASKED_ENTRY_UMASK_MASK_SHIFT: "6.3",
  KVM_PMU_MASKED_ENTRY_UMASK_MATCH: "6.3",
  KVM_XEN_INVALID_GFN: "6.3",
  KVM_XEN_INVALID_GPA: "6.3",
  KVM_EXIT_HYPERCALL_LONG_MODE: "6.4",
  KVM_DEV_TYPE_RISCV_AIA: "6.6",
  KVM_REG_LOONGARCH: "6.7",
  KVM_MEM_GUEST_MEMFD: "6.8",
  KVM_MEMORY_ATTRIBUTE_PRIVATE: "6.8",
  KVM_MEMORY_EXIT_FLAG_PRIVATE: "6.8",
  KVM_X86_DEFAULT_VM: "6.8",
  KVM_X86_SW_PROTECTED_VM: "6.8",
  KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE: "6.8",
  KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA: "6.9",
  KVM_XEN_ATTR_TYPE_SHARED_INFO_HVA: "6.9",
  KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO_HVA: "6.9",
  KVM_X86_SEV_VM: "6.10",
  KVM_X86_SEV_ES_VM: "6.10",
  KVM_X86_GRP_SYSTEM: "6.10",
  KVM_X86_GRP_SEV: "6.10",
  KVM_X86_SEV_VMSA_FEATURES: "6.10",
  KVM_X86_SNP_VM: "6.11",
  KVM_RUN_X86_GUEST_MODE: "6.12",
  KVM_X86_QUIRK_SLOT_ZAP_ALL: "6.12",
  KVM_DEV_TYPE_LOONGARCH_IPI: "6.13",
  KVM_DEV_TYPE_LOONGARCH_EIOINTC: "6.13",
  KVM_DEV_TYPE_LOONGARCH_PCHPIC: "6.13",
  KVM_X86_QUIRK_STUFF_FEATURE_MSRS: "6.14",
  KVM_XEN_MSR_MIN_INDEX: "6.15",
  KVM_XEN_MSR_MAX_INDEX: "6.15",
  KVM_SYSTEM_EVENT_TDX_FATAL: "6.16",
  KVM_X86_TDX_VM: "6.16",
  KVM_X86_QUIRK_IGNORE_GUEST_PAT: "6.16",
  KVM_X86_SNP_POLICY_BITS: "6.17",
  KVM_X86_DISABLE_EXITS_APERFMPERF: "6.17",
  GUEST_MEMFD_FLAG_MMAP: "6.18",
  GUEST_MEMFD_FLAG_INIT_SHARED: "6.18",
  KVM_X86_REG_TYPE_MSR: "6.18",
  KVM_X86_REG_TYPE_KVM: "6.18",
  KVM_REG_GUEST_SSP: "6.18",
  KVM_X2APIC_ENABLE_SUPPRESS_EOI_BROADCAST: "7.0",
  KVM_X2APIC_DISABLE_SUPPRESS_EOI_BROADCAST: "7.0",
  KVM_X86_SEV_SNP_REQ_CERTS: "7.0",
  KVM_X86_QUIRK_VMCS12_ALLOW_FREEZE_IN_SMM: "7.0",
  KVM_X86_QUIRK_NESTED_SVM_SHARED_PAT: "7.1",
  KVM_DEV_TYPE_LOONGARCH_DMSINTC: "7.1",
  KVM_DEV_TYPE_ARM_VGIC_V5: "7.1",
};

/**
 * The name that a value has among constants whose names begin alike (`KVM_SYSTEM_EVENT`),
 * without what they begin with. Undefined where it has none.
 *
 * @param group The constants, by their names.
 * @param value What one of them may have.
 * @example
 * ```ts
 * import { constantName, KVM_SYSTEM_EVENT } from "@vmexit/vmexit/abi";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(constantName(KVM_SYSTEM_EVENT, 2), "RESET");
 * assertEquals(constantName(KVM_SYSTEM_EVENT, 99), undefined);
 * ```
 */
export function constantName<Value extends number | bigint>(
  group: Readonly<Record<string, Value>>,
  value: Value,
): string | undefined {
  for (const name in group) if (group[name] === value) return name;
  return undefined;
}
