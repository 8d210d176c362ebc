import { type Struct, struct, u32, u64 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_create_device} reads as. */
export type KvmCreateDevice = {
  type: number;
  fd: number;
  flags: number;
};

/** `struct kvm_create_device`: `type` is of `KVM_DEV_TYPE`. KVM_CREATE_DEVICE (api.rst 4.79). */
export const kvm_create_device: Struct<KvmCreateDevice> = struct("kvm_create_device", {
  type: u32,
  fd: u32,
  flags: u32,
});

/** What {@linkcode kvm_device_attr} reads as. */
export type KvmDeviceAttr = {
  flags: number;
  group: number;
  attr: bigint;
  addr: bigint;
};

/**
 * `struct kvm_device_attr`: KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR (api.rst 4.80,
 * 4.81).
 */
export const kvm_device_attr: Struct<KvmDeviceAttr> = struct("kvm_device_attr", {
  flags: u32,
  group: u32,
  attr: u64,
  addr: u64,
});
