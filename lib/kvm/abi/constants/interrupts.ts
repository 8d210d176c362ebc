/** `kvm_irqchip.chip_id` (api.rst 4.26). */
export const KVM_IRQCHIP = {
  PIC_MASTER: 0,
  PIC_SLAVE: 1,
  IOAPIC: 2,
} as const;

/** `kvm_pit_config.flags` (SPEAKER_DUMMY) and `kvm_pit_state2.flags` (api.rst 4.71, 4.72). */
export const KVM_PIT = {
  SPEAKER_DUMMY: 1,
  FLAGS_HPET_LEGACY: 1,
  FLAGS_SPEAKER_DATA_ON: 2,
} as const;

/** `kvm_irq_routing_entry.type`, and the priority of a Xen event channel (api.rst 4.52). */
export const KVM_IRQ_ROUTING = {
  IRQCHIP: 1,
  MSI: 2,
  S390_ADAPTER: 3,
  HV_SINT: 4,
  XEN_EVTCHN: 5,
  XEN_EVTCHN_PRIO_2LEVEL: 0xffffffff,
} as const;

/** Bits of `kvm_msi.flags` (api.rst 4.71). */
export const KVM_MSI = {
  VALID_DEVID: 1,
} as const;

/** Bits of `kvm_irqfd.flags` (api.rst 4.75). */
export const KVM_IRQFD_FLAG = {
  DEASSIGN: 1,
  RESAMPLE: 2,
} as const;

/** Bits of `kvm_ioeventfd.flags` (api.rst 4.59). */
export const KVM_IOEVENTFD = {
  FLAG_DATAMATCH: 1,
  FLAG_PIO: 2,
  FLAG_DEASSIGN: 4,
  FLAG_VIRTIO_CCW_NOTIFY: 8,
  VALID_FLAG_MASK: 0x1f,
} as const;

/** Arguments of KVM_CAP_X2APIC_API (api.rst 7). */
export const KVM_X2APIC = {
  API_USE_32BIT_IDS: 1n,
  API_DISABLE_BROADCAST_QUIRK: 2n,
  ENABLE_SUPPRESS_EOI_BROADCAST: 4n,
  DISABLE_SUPPRESS_EOI_BROADCAST: 8n,
} as const;

/** Bits of `kvm_clock_data.flags` (api.rst 4.29). */
export const KVM_CLOCK = {
  TSC_STABLE: 2,
  REALTIME: 4,
  HOST_TSC: 8,
} as const;
