/** `kvm_hyperv_eventfd` (api.rst 4.113). */
export const KVM_HYPERV = {
  CONN_ID_MASK: 0xffffff,
  EVENTFD_DEASSIGN: 1,
} as const;

/** Bits of `kvm_xen_hvm_config.flags` (api.rst 8, KVM_CAP_XEN_HVM). */
export const KVM_XEN_HVM_CONFIG = {
  HYPERCALL_MSR: 1,
  INTERCEPT_HCALL: 2,
  SHARED_INFO: 4,
  RUNSTATE: 8,
  EVTCHN_2LEVEL: 0x10,
  EVTCHN_SEND: 0x20,
  RUNSTATE_UPDATE_FLAG: 0x40,
  PVCLOCK_TSC_UNSTABLE: 0x80,
  SHARED_INFO_HVA: 0x100,
} as const;

/** `kvm_xen_hvm_attr.type` (api.rst 4.127). */
export const KVM_XEN_ATTR_TYPE = {
  LONG_MODE: 0,
  SHARED_INFO: 1,
  UPCALL_VECTOR: 2,
  EVTCHN: 3,
  XEN_VERSION: 4,
  RUNSTATE_UPDATE_FLAG: 5,
  SHARED_INFO_HVA: 6,
} as const;

/** Bits of `kvm_xen_hvm_attr.u.evtchn.flags`. */
export const KVM_XEN_EVTCHN = {
  DEASSIGN: 1,
  UPDATE: 2,
  RESET: 4,
} as const;

/** `kvm_xen_vcpu_attr.type` (api.rst 4.129). */
export const KVM_XEN_VCPU_ATTR_TYPE = {
  VCPU_INFO: 0,
  VCPU_TIME_INFO: 1,
  RUNSTATE_ADDR: 2,
  RUNSTATE_CURRENT: 3,
  RUNSTATE_DATA: 4,
  RUNSTATE_ADJUST: 5,
  VCPU_ID: 6,
  TIMER: 7,
  UPCALL_VECTOR: 8,
  VCPU_INFO_HVA: 9,
} as const;

/** Addresses that take a page of Xen's away. */
export const KVM_XEN_INVALID = {
  GFN: 0xffffffffffffffffn,
  GPA: 0xffffffffffffffffn,
} as const;

/** The range of `kvm_xen_hvm_config.msr`. */
export const KVM_XEN_MSR = {
  MIN_INDEX: 0x40000000,
  MAX_INDEX: 0x4fffffff,
} as const;

/** Numbers of KVM's own hypercalls (`<linux/kvm_para.h>`): `kvm_run.hypercall.nr`. */
export const KVM_HC = {
  VAPIC_POLL_IRQ: 1,
  MMU_OP: 2,
  FEATURES: 3,
  PPC_MAP_MAGIC_PAGE: 4,
  KICK_CPU: 5,
  MIPS_GET_CLOCK_FREQ: 6,
  MIPS_EXIT_VM: 7,
  MIPS_CONSOLE_OUTPUT: 8,
  CLOCK_PAIRING: 9,
  SEND_IPI: 10,
  SCHED_YIELD: 11,
  MAP_GPA_RANGE: 12,
} as const;
