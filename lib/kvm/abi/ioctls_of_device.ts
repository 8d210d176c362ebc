/**
 * The ioctls that a device of KVM_CREATE_DEVICE takes, and the other levels for attributes of their own, by
 * the header's name: the file descriptors that take them, the macro, number and argument that each value is
 * built from, the capability that gates it, and the kernel version that brought it where that is newer than
 * 5.10 (`<linux/kvm.h>`; api.rst 4).
 */
export const IOCTLS_OF_DEVICE = {
  KVM_SET_DEVICE_ATTR: {
    levels: ["device", "vm", "vcpu"],
    number: ["_IOW", 0xe1, "kvm_device_attr"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
  KVM_GET_DEVICE_ATTR: {
    levels: ["device", "system", "vm", "vcpu"],
    number: ["_IOW", 0xe2, "kvm_device_attr"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
  KVM_HAS_DEVICE_ATTR: {
    levels: ["device", "system", "vm", "vcpu"],
    number: ["_IOW", 0xe3, "kvm_device_attr"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
} as const;
