import {
  array,
  flexible,
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

/** What {@linkcode kvm_irq_routing_irqchip} reads as. */
export type KvmIrqRoutingIrqchip = {
  irqchip: number;
  pin: number;
};

/** `struct kvm_irq_routing_irqchip`: a GSI that goes to a pin of an in-kernel chip. */
export const kvm_irq_routing_irqchip: Struct<KvmIrqRoutingIrqchip> = struct(
  "kvm_irq_routing_irqchip",
  { irqchip: u32, pin: u32 },
);

/** What {@linkcode kvm_irq_routing_msi} reads as. */
export type KvmIrqRoutingMsi = {
  address_lo: number;
  address_hi: number;
  data: number;
  pad: number;
  devid: number;
};

/** `struct kvm_irq_routing_msi`: a GSI that is sent as a message. */
export const kvm_irq_routing_msi: Struct<KvmIrqRoutingMsi> = struct("kvm_irq_routing_msi", {
  address_lo: u32,
  address_hi: u32,
  data: u32,
  device: hoisted(union({ pad: u32, devid: u32 })),
});

/** What {@linkcode kvm_irq_routing_s390_adapter} reads as. */
export type KvmIrqRoutingS390Adapter = {
  ind_addr: bigint;
  summary_addr: bigint;
  ind_offset: bigint;
  summary_offset: number;
  adapter_id: number;
};

/** `struct kvm_irq_routing_s390_adapter`: of s390; here because it is a member of the entry's union. */
export const kvm_irq_routing_s390_adapter: Struct<KvmIrqRoutingS390Adapter> = struct(
  "kvm_irq_routing_s390_adapter",
  { ind_addr: u64, summary_addr: u64, ind_offset: u64, summary_offset: u32, adapter_id: u32 },
);

/** What {@linkcode kvm_irq_routing_hv_sint} reads as. */
export type KvmIrqRoutingHvSint = {
  vcpu: number;
  sint: number;
};

/** `struct kvm_irq_routing_hv_sint`: a GSI that is a Hyper-V synthetic interrupt source. */
export const kvm_irq_routing_hv_sint: Struct<KvmIrqRoutingHvSint> = struct(
  "kvm_irq_routing_hv_sint",
  { vcpu: u32, sint: u32 },
);

/** What {@linkcode kvm_irq_routing_xen_evtchn} reads as. */
export type KvmIrqRoutingXenEvtchn = {
  port: number;
  vcpu: number;
  priority: number;
};

/** `struct kvm_irq_routing_xen_evtchn`: a Xen event channel; also what KVM_XEN_HVM_EVTCHN_SEND takes. */
export const kvm_irq_routing_xen_evtchn: Struct<KvmIrqRoutingXenEvtchn> = struct(
  "kvm_irq_routing_xen_evtchn",
  { port: u32, vcpu: u32, priority: u32 },
);

/** What {@linkcode kvm_irq_routing_entry} reads as. */
export type KvmIrqRoutingEntry = {
  gsi: number;
  type: number;
  flags: number;
  pad: number;
  u: {
    irqchip: KvmIrqRoutingIrqchip;
    msi: KvmIrqRoutingMsi;
    adapter: KvmIrqRoutingS390Adapter;
    hv_sint: KvmIrqRoutingHvSint;
    xen_evtchn: KvmIrqRoutingXenEvtchn;
    pad: number[];
  };
};

/** `struct kvm_irq_routing_entry`: a GSI's route; `type` is of `KVM_IRQ_ROUTING`. */
export const kvm_irq_routing_entry: Struct<KvmIrqRoutingEntry> = struct("kvm_irq_routing_entry", {
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  u: union({
    irqchip: kvm_irq_routing_irqchip,
    msi: kvm_irq_routing_msi,
    adapter: kvm_irq_routing_s390_adapter,
    hv_sint: kvm_irq_routing_hv_sint,
    xen_evtchn: kvm_irq_routing_xen_evtchn,
    pad: array(u32, 8),
  }),
});

/** What {@linkcode kvm_irq_routing} reads as. */
export type KvmIrqRouting = {
  nr: number;
  flags: number;
  entries: KvmIrqRoutingEntry[];
};

/** `struct kvm_irq_routing`: KVM_SET_GSI_ROUTING replaces the whole table (api.rst 4.52). */
export const kvm_irq_routing: Struct<KvmIrqRouting> = struct("kvm_irq_routing", {
  nr: u32,
  flags: u32,
  entries: flexible(kvm_irq_routing_entry, "nr"),
});
