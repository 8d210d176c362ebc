/**
 * The ioctls that `/dev/kvm` takes, by the header's name: the file descriptors that take them, the macro,
 * number and argument that each value is built from, the capability that gates it, and the kernel version
 * that brought it where that is newer than 5.10 (`<linux/kvm.h>`; api.rst 4).
 */
export const IOCTLS_OF_SYSTEM = {
  KVM_GET_API_VERSION: { levels: ["system"], number: ["_IO", 0x00] },
  KVM_CREATE_VM: { levels: ["system"], number: ["_IO", 0x01] },
  KVM_GET_MSR_INDEX_LIST: { levels: ["system"], number: ["_IOWR", 0x02, "kvm_msr_list"] },
  KVM_CHECK_EXTENSION: { levels: ["system", "vm"], number: ["_IO", 0x03] },
  KVM_GET_VCPU_MMAP_SIZE: { levels: ["system"], number: ["_IO", 0x04] },
  KVM_GET_SUPPORTED_CPUID: {
    levels: ["system"],
    number: ["_IOWR", 0x05, "kvm_cpuid2"],
    capability: "KVM_CAP_EXT_CPUID",
  },
  KVM_GET_EMULATED_CPUID: {
    levels: ["system"],
    number: ["_IOWR", 0x09, "kvm_cpuid2"],
    capability: "KVM_CAP_EXT_EMUL_CPUID",
  },
  KVM_GET_MSR_FEATURE_INDEX_LIST: {
    levels: ["system"],
    number: ["_IOWR", 0x0a, "kvm_msr_list"],
    capability: "KVM_CAP_GET_MSR_FEATURES",
  },
  KVM_X86_GET_MCE_CAP_SUPPORTED: {
    levels: ["system"],
    number: ["_IOR", 0x9d, "u64"],
    capability: "KVM_CAP_MCE",
  },
  KVM_GET_SUPPORTED_HV_CPUID: {
    levels: ["system", "vcpu"],
    number: ["_IOWR", 0xc1, "kvm_cpuid2"],
    capability: "KVM_CAP_HYPERV_CPUID",
  },
} as const;
