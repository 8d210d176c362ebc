/**
 * The ioctls that a vCPU takes, by the header's name: the file descriptors that take them, the macro, number
 * and argument that each value is built from, the capability that gates it, and the kernel version that
 * brought it where that is newer than 5.10 (`<linux/kvm.h>`; api.rst 4).
 *
 * KVM_GET_ONE_REG and its kin are in every header, and work on x86 from 6.18 on: KVM_CAP_ONE_REG tells.
 */
export const IOCTLS_OF_VCPU = {
  KVM_RUN: { levels: ["vcpu"], number: ["_IO", 0x80] },
  KVM_GET_REGS: { levels: ["vcpu"], number: ["_IOR", 0x81, "kvm_regs"] },
  KVM_SET_REGS: { levels: ["vcpu"], number: ["_IOW", 0x82, "kvm_regs"] },
  KVM_GET_SREGS: { levels: ["vcpu"], number: ["_IOR", 0x83, "kvm_sregs"] },
  KVM_SET_SREGS: { levels: ["vcpu"], number: ["_IOW", 0x84, "kvm_sregs"] },
  KVM_TRANSLATE: { levels: ["vcpu"], number: ["_IOWR", 0x85, "kvm_translation"] },
  KVM_INTERRUPT: { levels: ["vcpu"], number: ["_IOW", 0x86, "kvm_interrupt"] },
  KVM_GET_MSRS: { levels: ["vcpu", "system"], number: ["_IOWR", 0x88, "kvm_msrs"] },
  KVM_SET_MSRS: { levels: ["vcpu"], number: ["_IOW", 0x89, "kvm_msrs"] },
  KVM_SET_CPUID: { levels: ["vcpu"], number: ["_IOW", 0x8a, "kvm_cpuid"] },
  KVM_SET_SIGNAL_MASK: { levels: ["vcpu"], number: ["_IOW", 0x8b, "kvm_signal_mask"] },
  KVM_GET_FPU: { levels: ["vcpu"], number: ["_IOR", 0x8c, "kvm_fpu"] },
  KVM_SET_FPU: { levels: ["vcpu"], number: ["_IOW", 0x8d, "kvm_fpu"] },
  KVM_GET_LAPIC: {
    levels: ["vcpu"],
    number: ["_IOR", 0x8e, "kvm_lapic_state"],
    capability: "KVM_CAP_IRQCHIP",
  },
  KVM_SET_LAPIC: {
    levels: ["vcpu"],
    number: ["_IOW", 0x8f, "kvm_lapic_state"],
    capability: "KVM_CAP_IRQCHIP",
  },
  KVM_SET_CPUID2: {
    levels: ["vcpu"],
    number: ["_IOW", 0x90, "kvm_cpuid2"],
    capability: "KVM_CAP_EXT_CPUID",
  },
  KVM_GET_CPUID2: {
    levels: ["vcpu"],
    number: ["_IOWR", 0x91, "kvm_cpuid2"],
    capability: "KVM_CAP_EXT_CPUID",
  },
  KVM_TPR_ACCESS_REPORTING: {
    levels: ["vcpu"],
    number: ["_IOWR", 0x92, "kvm_tpr_access_ctl"],
    capability: "KVM_CAP_VAPIC",
  },
  KVM_SET_VAPIC_ADDR: {
    levels: ["vcpu"],
    number: ["_IOW", 0x93, "kvm_vapic_addr"],
    capability: "KVM_CAP_VAPIC",
  },
  KVM_GET_MP_STATE: {
    levels: ["vcpu"],
    number: ["_IOR", 0x98, "kvm_mp_state"],
    capability: "KVM_CAP_MP_STATE",
  },
  KVM_SET_MP_STATE: {
    levels: ["vcpu"],
    number: ["_IOW", 0x99, "kvm_mp_state"],
    capability: "KVM_CAP_MP_STATE",
  },
  KVM_NMI: { levels: ["vcpu"], number: ["_IO", 0x9a], capability: "KVM_CAP_USER_NMI" },
  KVM_SET_GUEST_DEBUG: {
    levels: ["vcpu"],
    number: ["_IOW", 0x9b, "kvm_guest_debug"],
    capability: "KVM_CAP_SET_GUEST_DEBUG",
  },
  KVM_X86_SETUP_MCE: { levels: ["vcpu"], number: ["_IOW", 0x9c, "u64"], capability: "KVM_CAP_MCE" },
  KVM_X86_SET_MCE: {
    levels: ["vcpu"],
    number: ["_IOW", 0x9e, "kvm_x86_mce"],
    capability: "KVM_CAP_MCE",
  },
  KVM_GET_VCPU_EVENTS: {
    levels: ["vcpu"],
    number: ["_IOR", 0x9f, "kvm_vcpu_events"],
    capability: "KVM_CAP_VCPU_EVENTS",
  },
  KVM_SET_VCPU_EVENTS: {
    levels: ["vcpu"],
    number: ["_IOW", 0xa0, "kvm_vcpu_events"],
    capability: "KVM_CAP_VCPU_EVENTS",
  },
  KVM_GET_DEBUGREGS: {
    levels: ["vcpu"],
    number: ["_IOR", 0xa1, "kvm_debugregs"],
    capability: "KVM_CAP_DEBUGREGS",
  },
  KVM_SET_DEBUGREGS: {
    levels: ["vcpu"],
    number: ["_IOW", 0xa2, "kvm_debugregs"],
    capability: "KVM_CAP_DEBUGREGS",
  },
  KVM_GET_XSAVE: {
    levels: ["vcpu"],
    number: ["_IOR", 0xa4, "kvm_xsave"],
    capability: "KVM_CAP_XSAVE",
  },
  KVM_SET_XSAVE: {
    levels: ["vcpu"],
    number: ["_IOW", 0xa5, "kvm_xsave"],
    capability: "KVM_CAP_XSAVE",
  },
  KVM_GET_XCRS: {
    levels: ["vcpu"],
    number: ["_IOR", 0xa6, "kvm_xcrs"],
    capability: "KVM_CAP_XCRS",
  },
  KVM_SET_XCRS: {
    levels: ["vcpu"],
    number: ["_IOW", 0xa7, "kvm_xcrs"],
    capability: "KVM_CAP_XCRS",
  },
  KVM_GET_ONE_REG: {
    levels: ["vcpu"],
    number: ["_IOW", 0xab, "kvm_one_reg"],
    capability: "KVM_CAP_ONE_REG",
  },
  KVM_SET_ONE_REG: {
    levels: ["vcpu"],
    number: ["_IOW", 0xac, "kvm_one_reg"],
    capability: "KVM_CAP_ONE_REG",
  },
  KVM_KVMCLOCK_CTRL: {
    levels: ["vcpu"],
    number: ["_IO", 0xad],
    capability: "KVM_CAP_KVMCLOCK_CTRL",
  },
  KVM_GET_REG_LIST: {
    levels: ["vcpu"],
    number: ["_IOWR", 0xb0, "kvm_reg_list"],
    capability: "KVM_CAP_ONE_REG",
  },
  KVM_SMI: { levels: ["vcpu"], number: ["_IO", 0xb7], capability: "KVM_CAP_X86_SMM" },
  KVM_GET_NESTED_STATE: {
    levels: ["vcpu"],
    number: ["_IOWR", 0xbe, "kvm_nested_state"],
    capability: "KVM_CAP_NESTED_STATE",
  },
  KVM_SET_NESTED_STATE: {
    levels: ["vcpu"],
    number: ["_IOW", 0xbf, "kvm_nested_state"],
    capability: "KVM_CAP_NESTED_STATE",
  },
  KVM_XEN_VCPU_GET_ATTR: {
    levels: ["vcpu"],
    number: ["_IOWR", 0xca, "kvm_xen_vcpu_attr"],
    capability: "KVM_CAP_XEN_HVM",
  },
  KVM_XEN_VCPU_SET_ATTR: {
    levels: ["vcpu"],
    number: ["_IOW", 0xcb, "kvm_xen_vcpu_attr"],
    capability: "KVM_CAP_XEN_HVM",
  },
  KVM_GET_SREGS2: {
    levels: ["vcpu"],
    number: ["_IOR", 0xcc, "kvm_sregs2"],
    capability: "KVM_CAP_SREGS2",
    since: "5.14",
  },
  KVM_SET_SREGS2: {
    levels: ["vcpu"],
    number: ["_IOW", 0xcd, "kvm_sregs2"],
    capability: "KVM_CAP_SREGS2",
    since: "5.14",
  },
  KVM_GET_XSAVE2: {
    levels: ["vcpu"],
    number: ["_IOR", 0xcf, "kvm_xsave"],
    capability: "KVM_CAP_XSAVE2",
    since: "5.17",
  },
  KVM_PRE_FAULT_MEMORY: {
    levels: ["vcpu"],
    number: ["_IOWR", 0xd5, "kvm_pre_fault_memory"],
    capability: "KVM_CAP_PRE_FAULT_MEMORY",
    since: "6.11",
  },
} as const;
