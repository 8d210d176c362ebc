import {
  array,
  hoisted,
  s32,
  type Struct,
  struct,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";

/** What {@linkcode kvm_irq_level} reads as. */
export type KvmIrqLevel = {
  irq: number;
  status: number;
  level: number;
};

/** `struct kvm_irq_level`: KVM_IRQ_LINE; KVM_IRQ_LINE_STATUS puts `status` where `irq` was (api.rst 4.25). */
export const kvm_irq_level: Struct<KvmIrqLevel> = struct("kvm_irq_level", {
  line: hoisted(union({ irq: u32, status: s32 })),
  level: u32,
});

/** What {@linkcode kvm_msi} reads as. */
export type KvmMsi = {
  address_lo: number;
  address_hi: number;
  data: number;
  flags: number;
  devid: number;
  pad: Uint8Array;
};

/** `struct kvm_msi`: KVM_SIGNAL_MSI (api.rst 4.71). */
export const kvm_msi: Struct<KvmMsi> = struct("kvm_msi", {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  flags: u32,
  devid: u32,
  pad: array(u8, 12),
});

/** What {@linkcode kvm_irqfd} reads as. */
export type KvmIrqfd = {
  fd: number;
  gsi: number;
  flags: number;
  resamplefd: number;
  pad: Uint8Array;
};

/** `struct kvm_irqfd`: `flags` are `KVM_IRQFD_FLAG`'s. KVM_IRQFD (api.rst 4.75). */
export const kvm_irqfd: Struct<KvmIrqfd> = struct("kvm_irqfd", {
  fd: u32,
  gsi: u32,
  flags: u32,
  resamplefd: u32,
  pad: array(u8, 16),
});

/** What {@linkcode kvm_ioeventfd} reads as. */
export type KvmIoeventfd = {
  datamatch: bigint;
  addr: bigint;
  len: number;
  fd: number;
  flags: number;
  pad: Uint8Array;
};

/** `struct kvm_ioeventfd`: `flags` are `KVM_IOEVENTFD_FLAG`'s. KVM_IOEVENTFD (api.rst 4.59). */
export const kvm_ioeventfd: Struct<KvmIoeventfd> = struct("kvm_ioeventfd", {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: s32,
  flags: u32,
  pad: array(u8, 36),
});
