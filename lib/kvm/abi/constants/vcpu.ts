/** Bits of `kvm_guest_debug.control` (api.rst 4.87). */
export const KVM_GUESTDBG = {
  ENABLE: 1,
  SINGLESTEP: 2,
  USE_SW_BP: 0x10000,
  USE_HW_BP: 0x20000,
  INJECT_DB: 0x40000,
  INJECT_BP: 0x80000,
  BLOCKIRQ: 0x100000,
} as const;

/**
 * `kvm_mp_state.mp_state` (api.rst 4.38); those from STOPPED on are of other architectures, but for
 * AP_RESET_HOLD.
 */
export const KVM_MP_STATE = {
  RUNNABLE: 0,
  UNINITIALIZED: 1,
  INIT_RECEIVED: 2,
  HALTED: 3,
  SIPI_RECEIVED: 4,
  STOPPED: 5,
  CHECK_STOP: 6,
  OPERATING: 7,
  LOAD: 8,
  AP_RESET_HOLD: 9,
  SUSPENDED: 10,
} as const;

/** Bits of `kvm_vcpu_events.flags`: which fields KVM_SET_VCPU_EVENTS takes (api.rst 4.32). */
export const KVM_VCPUEVENT_VALID = {
  NMI_PENDING: 1,
  SIPI_VECTOR: 2,
  SHADOW: 4,
  SMM: 8,
  PAYLOAD: 0x10,
  TRIPLE_FAULT: 0x20,
} as const;

/** Bits of `kvm_vcpu_events.interrupt.shadow`. */
export const KVM_X86_SHADOW_INT = {
  MOV_SS: 1,
  STI: 2,
} as const;

/** Bits of `kvm_run.kvm_valid_regs` and `kvm_dirty_regs` (api.rst 6, KVM_CAP_SYNC_REGS). */
export const KVM_SYNC_X86 = {
  REGS: 1n,
  SREGS: 2n,
  EVENTS: 4n,
  VALID_FIELDS: 7n,
} as const;

/** Bits of `kvm_sregs2.flags`. */
export const KVM_SREGS2_FLAGS = {
  PDPTRS_VALID: 1n,
} as const;

/** Bits of `kvm_cpuid_entry2.flags`; SIGNIFCANT is the header's spelling (api.rst 4.46). */
export const KVM_CPUID_FLAG = {
  SIGNIFCANT_INDEX: 1,
  STATEFUL_FUNC: 2,
  STATE_READ_NEXT: 4,
} as const;

/** Attribute group and attribute of the TSC offset of a vCPU (devices/vcpu.rst 4). */
export const KVM_VCPU_TSC = {
  CTRL: 0,
  OFFSET: 0,
} as const;

/** Bits of `kvm_nested_state.flags`, its formats, bits of `hdr.vmx.smm.flags`, and sizes of the data. */
export const KVM_STATE_NESTED = {
  FORMAT_VMX: 0,
  FORMAT_SVM: 1,
  GUEST_MODE: 1,
  RUN_PENDING: 2,
  EVMCS: 4,
  MTF_PENDING: 8,
  GIF_SET: 0x100,
  SMM_GUEST_MODE: 1,
  SMM_VMXON: 2,
  VMX_VMCS_SIZE: 0x1000,
  SVM_VMCB_SIZE: 0x1000,
} as const;

/** Bits of `kvm_nested_state.hdr.vmx.flags`. */
export const KVM_STATE_VMX = {
  PREEMPTION_TIMER_DEADLINE: 1,
} as const;
