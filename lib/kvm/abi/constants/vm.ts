/** The version of the API, the pages of a vCPU's mapping, and counts. */
export const KVM = {
  API_VERSION: 12,
  PIO_PAGE_OFFSET: 1,
  COALESCED_MMIO_PAGE_OFFSET: 2,
  DIRTY_LOG_PAGE_OFFSET: 64,
  NR_INTERRUPTS: 256,
  NR_IRQCHIPS: 3,
  IOAPIC_NUM_PINS: 24,
  APIC_REG_SIZE: 1024,
  MAX_XCRS: 16,
} as const;

/** Types of VM for KVM_CREATE_VM, and attribute groups of `/dev/kvm` (api.rst 4.2, 4.80). */
export const KVM_X86 = {
  DEFAULT_VM: 0,
  SW_PROTECTED_VM: 1,
  SEV_VM: 2,
  SEV_ES_VM: 3,
  SNP_VM: 4,
  TDX_VM: 5,
  GRP_SYSTEM: 0,
  XCOMP_GUEST_SUPP: 0,
  GRP_SEV: 1,
  SEV_VMSA_FEATURES: 0,
  SNP_POLICY_BITS: 1,
  SEV_SNP_REQ_CERTS: 2,
} as const;

/** Arguments of KVM_CAP_DISABLE_QUIRKS2 (api.rst 7). */
export const KVM_X86_QUIRK = {
  LINT0_REENABLED: 1,
  CD_NW_CLEARED: 2,
  LAPIC_MMIO_HOLE: 4,
  OUT_7E_INC_RIP: 8,
  MISC_ENABLE_NO_MWAIT: 0x10,
  FIX_HYPERCALL_INSN: 0x20,
  MWAIT_NEVER_UD_FAULTS: 0x40,
  SLOT_ZAP_ALL: 0x80,
  STUFF_FEATURE_MSRS: 0x100,
  IGNORE_GUEST_PAT: 0x200,
  VMCS12_ALLOW_FREEZE_IN_SMM: 0x400,
  NESTED_SVM_SHARED_PAT: 0x800,
} as const;

/** Arguments of KVM_CAP_X86_DISABLE_EXITS (api.rst 7). */
export const KVM_X86_DISABLE_EXITS = {
  MWAIT: 1,
  HLT: 2,
  PAUSE: 4,
  CSTATE: 8,
  APERFMPERF: 0x10,
} as const;

/** Arguments of KVM_CAP_X86_NOTIFY_VMEXIT, bits 31:0 (api.rst 7). */
export const KVM_X86_NOTIFY_VMEXIT = {
  ENABLED: 1n,
  USER: 2n,
} as const;

/** Arguments of KVM_CAP_X86_BUS_LOCK_EXIT (api.rst 7). */
export const KVM_BUS_LOCK_DETECTION = {
  OFF: 1,
  EXIT: 2,
} as const;

/** `kvm_create_device.type` (api.rst 4.79); x86 has VFIO. */
export const KVM_DEV_TYPE = {
  FSL_MPIC_20: 1,
  FSL_MPIC_42: 2,
  XICS: 3,
  VFIO: 4,
  ARM_VGIC_V2: 5,
  FLIC: 6,
  ARM_VGIC_V3: 7,
  ARM_VGIC_ITS: 8,
  XIVE: 9,
  ARM_PV_TIME: 10,
  RISCV_AIA: 11,
  LOONGARCH_IPI: 12,
  LOONGARCH_EIOINTC: 13,
  LOONGARCH_PCHPIC: 14,
  LOONGARCH_DMSINTC: 15,
  ARM_VGIC_V5: 16,
} as const;

/** Bits of `kvm_create_device.flags`. */
export const KVM_CREATE_DEVICE = {
  TEST: 1,
} as const;

/** Flags of a memory slot (api.rst 4.35). */
export const KVM_MEM = {
  LOG_DIRTY_PAGES: 1,
  READONLY: 2,
  GUEST_MEMFD: 4,
} as const;

/** Bits of `kvm_memory_attributes.attributes` (api.rst 4.141). */
export const KVM_MEMORY_ATTRIBUTE = {
  PRIVATE: 8n,
} as const;

/** Bits of `kvm_create_guest_memfd.flags` (api.rst 4.142). */
export const GUEST_MEMFD_FLAG = {
  MMAP: 1n,
  INIT_SHARED: 2n,
} as const;

/** Arguments of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (api.rst 7). */
export const KVM_DIRTY_LOG = {
  MANUAL_PROTECT_ENABLE: 1,
  INITIALLY_SET: 2,
} as const;

/**
 * Bits of `kvm_dirty_gfn.flags`: dirty when KVM wrote it, reset when the process has read it (api.rst 7,
 * KVM_CAP_DIRTY_LOG_RING).
 */
export const KVM_DIRTY_GFN_F = {
  DIRTY: 1,
  RESET: 2,
  MASK: 3,
} as const;

/** The type in `kvm_stats_desc.flags`. */
export const KVM_STATS_TYPE = {
  SHIFT: 0,
  MASK: 0xf,
  CUMULATIVE: 0,
  INSTANT: 1,
  PEAK: 2,
  LINEAR_HIST: 3,
  LOG_HIST: 4,
  MAX: 4,
} as const;

/** The unit in `kvm_stats_desc.flags`. */
export const KVM_STATS_UNIT = {
  SHIFT: 4,
  MASK: 0xf0,
  NONE: 0,
  BYTES: 0x10,
  SECONDS: 0x20,
  CYCLES: 0x30,
  BOOLEAN: 0x40,
  MAX: 0x40,
} as const;

/** The base of the exponent in `kvm_stats_desc.flags`. */
export const KVM_STATS_BASE = {
  SHIFT: 8,
  MASK: 0xf00,
  POW10: 0,
  POW2: 0x100,
  MAX: 0x100,
} as const;
