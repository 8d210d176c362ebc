/** Bits of `kvm_msr_filter.flags` (DEFAULT_…) and `kvm_msr_filter_range.flags`, and limits (api.rst 4.97). */
export const KVM_MSR_FILTER = {
  READ: 1,
  WRITE: 2,
  RANGE_VALID_MASK: 3,
  DEFAULT_ALLOW: 0,
  DEFAULT_DENY: 1,
  VALID_MASK: 1,
  MAX_BITMAP_SIZE: 0x600,
  MAX_RANGES: 16,
} as const;

/** `kvm_pmu_event_filter.action`, and bits of its `flags` (api.rst 4.120). */
export const KVM_PMU_EVENT = {
  ALLOW: 0,
  DENY: 1,
  FLAG_MASKED_EVENTS: 1,
  FLAGS_VALID_MASK: 1,
} as const;

/** Parts of a masked event of `kvm_pmu_event_filter.events`. */
export const KVM_PMU_MASKED_ENTRY = {
  EVENT_SELECT: 0xf000000ffn,
  EXCLUDE: 0x80000000000000n,
  UMASK_MASK: 0xff00000000000000n,
  UMASK_MASK_SHIFT: 56n,
  UMASK_MATCH: 0xff00n,
} as const;

/** Argument of KVM_CAP_PMU_CAPABILITY (api.rst 7). */
export const KVM_PMU_CAP = {
  DISABLE: 1,
} as const;

/** Parts of a register id for KVM_GET_ONE_REG (api.rst 4.68). */
export const KVM_REG = {
  ARCH_MASK: 0xff00000000000000n,
  GENERIC: 0n,
  PPC: 0x1000000000000000n,
  X86: 0x2000000000000000n,
  IA64: 0x3000000000000000n,
  ARM: 0x4000000000000000n,
  S390: 0x5000000000000000n,
  ARM64: 0x6000000000000000n,
  MIPS: 0x7000000000000000n,
  RISCV: 0x8000000000000000n,
  LOONGARCH: 0x9000000000000000n,
  SIZE_SHIFT: 52n,
  SIZE_MASK: 0xf0000000000000n,
  SIZE_U8: 0n,
  SIZE_U16: 0x10000000000000n,
  SIZE_U32: 0x20000000000000n,
  SIZE_U64: 0x30000000000000n,
  SIZE_U128: 0x40000000000000n,
  SIZE_U256: 0x50000000000000n,
  SIZE_U512: 0x60000000000000n,
  SIZE_U1024: 0x70000000000000n,
  SIZE_U2048: 0x80000000000000n,
  GUEST_SSP: 0n,
} as const;

/** The type in an x86 register id, bits 32 and up. */
export const KVM_X86_REG_TYPE = {
  MSR: 2n,
  KVM: 3n,
} as const;
