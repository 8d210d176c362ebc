import { CAPABILITY_NUMBERS } from "./capability_numbers.ts";

/** The name of a capability as in `<linux/kvm.h>`: `"KVM_CAP_DIRTY_LOG_RING"`. */
export type CapabilityName = keyof typeof CAPABILITY_NUMBERS;

/** A capability of KVM as data. */
export interface Capability {
  /** The header's name: `"KVM_CAP_SYNC_REGS"`. */
  readonly name: CapabilityName;
  /** What KVM_CHECK_EXTENSION and KVM_ENABLE_CAP take. */
  readonly number: number;
  /** The kernel version that brought it, where that is newer than 6.1. */
  readonly since?: string;
}

const SINCE: Readonly<Partial<Record<CapabilityName, string>>> = {
  KVM_CAP_S390_PROTECTED_ASYNC_DISABLE: "6.2",
  KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP: "6.2",
  KVM_CAP_PMU_EVENT_MASKED_EVENTS: "6.3",
  KVM_CAP_COUNTER_OFFSET: "6.4",
  KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE: "6.5",
  KVM_CAP_ARM_SUPPORTED_BLOCK_SIZES: "6.5",
  KVM_CAP_ARM_SUPPORTED_REG_MASK_RANGES: "6.7",
  KVM_CAP_USER_MEMORY2: "6.8",
  KVM_CAP_MEMORY_FAULT_INFO: "6.8",
  KVM_CAP_MEMORY_ATTRIBUTES: "6.8",
  KVM_CAP_GUEST_MEMFD: "6.8",
  KVM_CAP_VM_TYPES: "6.8",
  KVM_CAP_PRE_FAULT_MEMORY: "6.11",
  KVM_CAP_X86_APIC_BUS_CYCLES_NS: "6.11",
  KVM_CAP_X86_GUEST_MODE: "6.12",
  KVM_CAP_ARM_WRITABLE_IMP_ID_REGS: "6.15",
  KVM_CAP_ARM_EL2: "6.16",
  KVM_CAP_ARM_EL2_E2H0: "6.16",
  KVM_CAP_RISCV_MP_STATE_RESET: "6.16",
  KVM_CAP_ARM_CACHEABLE_PFNMAP_SUPPORTED: "6.17",
  KVM_CAP_GUEST_MEMFD_FLAGS: "6.18",
  KVM_CAP_ARM_SEA_TO_USER: "6.19",
  KVM_CAP_S390_USER_OPEREXEC: "6.19",
  KVM_CAP_S390_KEYOP: "7.0",
  KVM_CAP_S390_VSIE_ESAMODE: "7.1",
  KVM_CAP_S390_HPAGE_2G: "7.2",
};

/**
 * Every capability of `<linux/kvm.h>` by the header's name, those of other architectures too.
 *
 * @example
 * ```ts
 * import { CAPABILITIES } from "@vmexit/vmexit/abi";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(CAPABILITIES.KVM_CAP_SYNC_REGS.number, 74);
 * assertEquals(CAPABILITIES.KVM_CAP_GUEST_MEMFD.since, "6.8");
 * ```
 */
export const CAPABILITIES: Readonly<Record<CapabilityName, Capability>> = Object.fromEntries(
  Object.entries(CAPABILITY_NUMBERS).map(([key, number]) => {
    const name = key as CapabilityName;
    return [name, { name, number, since: SINCE[name] }];
  }),
) as Record<CapabilityName, Capability>;
