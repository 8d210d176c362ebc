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
