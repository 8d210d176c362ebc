/** `kvm_run.io.direction`. */
export const KVM_EXIT_IO = {
  IN: 0,
  OUT: 1,
} as const;

/** `kvm_run.hyperv.type`. */
export const KVM_EXIT_HYPERV = {
  SYNIC: 1,
  HCALL: 2,
  SYNDBG: 3,
} as const;

/** `kvm_run.xen.type`. */
export const KVM_EXIT_XEN = {
  HCALL: 1,
} as const;

/** Bits of `kvm_run.hypercall.flags`. */
export const KVM_EXIT_HYPERCALL = {
  LONG_MODE: 1n,
} as const;

/** `kvm_run.internal.suberror`. */
export const KVM_INTERNAL_ERROR = {
  EMULATION: 1,
  SIMUL_EX: 2,
  DELIVERY_EV: 3,
  UNEXPECTED_EXIT_REASON: 4,
} as const;

/** Bits of `kvm_run.emulation_failure.flags`: what of it is valid. */
export const KVM_INTERNAL_ERROR_EMULATION_FLAG = {
  INSTRUCTION_BYTES: 1n,
} as const;

/** `kvm_run.system_event.type`. */
export const KVM_SYSTEM_EVENT = {
  SHUTDOWN: 1,
  RESET: 2,
  CRASH: 3,
  WAKEUP: 4,
  SUSPEND: 5,
  SEV_TERM: 6,
  TDX_FATAL: 7,
} as const;

/** Bits of `kvm_run.msr.reason`, and of the argument of KVM_CAP_X86_USER_SPACE_MSR. */
export const KVM_MSR_EXIT_REASON = {
  INVAL: 1,
  UNKNOWN: 2,
  FILTER: 4,
  VALID_MASK: 7,
} as const;

/** Bits of `kvm_run.notify.flags`. */
export const KVM_NOTIFY = {
  CONTEXT_INVALID: 1,
} as const;

/** Bits of `kvm_run.memory_fault.flags`. */
export const KVM_MEMORY_EXIT_FLAG = {
  PRIVATE: 8n,
} as const;

/** Bits of `kvm_run.flags`. */
export const KVM_RUN_X86 = {
  SMM: 1,
  BUS_LOCK: 2,
  GUEST_MODE: 4,
} as const;
