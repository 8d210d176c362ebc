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
