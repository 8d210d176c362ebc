/**
 * The ioctls that a VM takes, by the header's name: the file descriptors that take them, the macro, number
 * and argument that each value is built from, the capability that gates it, and the kernel version that
 * brought it where that is newer than 5.10 (`<linux/kvm.h>`; api.rst 4). KVM_MEMORY_ENCRYPT_* want a
 * confidential VM, which no capability tells of.
 */
export const IOCTLS_OF_VM = {
  KVM_CREATE_VCPU: { levels: ["vm"], number: ["_IO", 0x41] },
  KVM_GET_DIRTY_LOG: { levels: ["vm"], number: ["_IOW", 0x42, "kvm_dirty_log"] },
  KVM_SET_NR_MMU_PAGES: {
    levels: ["vm"],
    number: ["_IO", 0x44],
    capability: "KVM_CAP_MMU_SHADOW_CACHE_CONTROL",
  },
  KVM_SET_USER_MEMORY_REGION: {
    levels: ["vm"],
    number: ["_IOW", 0x46, "kvm_userspace_memory_region"],
    capability: "KVM_CAP_USER_MEMORY",
  },
  KVM_SET_TSS_ADDR: { levels: ["vm"], number: ["_IO", 0x47], capability: "KVM_CAP_SET_TSS_ADDR" },
  KVM_SET_IDENTITY_MAP_ADDR: {
    levels: ["vm"],
    number: ["_IOW", 0x48, "u64"],
    capability: "KVM_CAP_SET_IDENTITY_MAP_ADDR",
  },
  KVM_SET_USER_MEMORY_REGION2: {
    levels: ["vm"],
    number: ["_IOW", 0x49, "kvm_userspace_memory_region2"],
    capability: "KVM_CAP_USER_MEMORY2",
    since: "6.8",
  },
  KVM_CREATE_IRQCHIP: { levels: ["vm"], number: ["_IO", 0x60], capability: "KVM_CAP_IRQCHIP" },
  KVM_IRQ_LINE: {
    levels: ["vm"],
    number: ["_IOW", 0x61, "kvm_irq_level"],
    capability: "KVM_CAP_IRQCHIP",
  },
  KVM_GET_IRQCHIP: {
    levels: ["vm"],
    number: ["_IOWR", 0x62, "kvm_irqchip"],
    capability: "KVM_CAP_IRQCHIP",
  },
  KVM_SET_IRQCHIP: {
    levels: ["vm"],
    number: ["_IOR", 0x63, "kvm_irqchip"],
    capability: "KVM_CAP_IRQCHIP",
  },
  KVM_CREATE_PIT: { levels: ["vm"], number: ["_IO", 0x64], capability: "KVM_CAP_PIT" },
  KVM_GET_PIT: {
    levels: ["vm"],
    number: ["_IOWR", 0x65, "kvm_pit_state"],
    capability: "KVM_CAP_PIT",
  },
  KVM_SET_PIT: {
    levels: ["vm"],
    number: ["_IOR", 0x66, "kvm_pit_state"],
    capability: "KVM_CAP_PIT",
  },
  KVM_IRQ_LINE_STATUS: {
    levels: ["vm"],
    number: ["_IOWR", 0x67, "kvm_irq_level"],
    capability: "KVM_CAP_IRQ_INJECT_STATUS",
  },
  KVM_REGISTER_COALESCED_MMIO: {
    levels: ["vm"],
    number: ["_IOW", 0x67, "kvm_coalesced_mmio_zone"],
    capability: "KVM_CAP_COALESCED_MMIO",
  },
  KVM_UNREGISTER_COALESCED_MMIO: {
    levels: ["vm"],
    number: ["_IOW", 0x68, "kvm_coalesced_mmio_zone"],
    capability: "KVM_CAP_COALESCED_MMIO",
  },
  KVM_SET_GSI_ROUTING: {
    levels: ["vm"],
    number: ["_IOW", 0x6a, "kvm_irq_routing"],
    capability: "KVM_CAP_IRQ_ROUTING",
  },
  KVM_REINJECT_CONTROL: {
    levels: ["vm"],
    number: ["_IO", 0x71],
    capability: "KVM_CAP_REINJECT_CONTROL",
  },
  KVM_IRQFD: { levels: ["vm"], number: ["_IOW", 0x76, "kvm_irqfd"], capability: "KVM_CAP_IRQFD" },
  KVM_CREATE_PIT2: {
    levels: ["vm"],
    number: ["_IOW", 0x77, "kvm_pit_config"],
    capability: "KVM_CAP_PIT2",
  },
  KVM_SET_BOOT_CPU_ID: {
    levels: ["vm"],
    number: ["_IO", 0x78],
    capability: "KVM_CAP_SET_BOOT_CPU_ID",
  },
  KVM_IOEVENTFD: {
    levels: ["vm"],
    number: ["_IOW", 0x79, "kvm_ioeventfd"],
    capability: "KVM_CAP_IOEVENTFD",
  },
  KVM_XEN_HVM_CONFIG: {
    levels: ["vm"],
    number: ["_IOW", 0x7a, "kvm_xen_hvm_config"],
    capability: "KVM_CAP_XEN_HVM",
  },
  KVM_SET_CLOCK: {
    levels: ["vm"],
    number: ["_IOW", 0x7b, "kvm_clock_data"],
    capability: "KVM_CAP_ADJUST_CLOCK",
  },
  KVM_GET_CLOCK: {
    levels: ["vm"],
    number: ["_IOR", 0x7c, "kvm_clock_data"],
    capability: "KVM_CAP_ADJUST_CLOCK",
  },
  KVM_GET_PIT2: {
    levels: ["vm"],
    number: ["_IOR", 0x9f, "kvm_pit_state2"],
    capability: "KVM_CAP_PIT_STATE2",
  },
  KVM_SET_PIT2: {
    levels: ["vm"],
    number: ["_IOW", 0xa0, "kvm_pit_state2"],
    capability: "KVM_CAP_PIT_STATE2",
  },
  KVM_SET_TSC_KHZ: {
    levels: ["vm", "vcpu"],
    number: ["_IO", 0xa2],
    capability: "KVM_CAP_TSC_CONTROL",
  },
  KVM_GET_TSC_KHZ: {
    levels: ["vm", "vcpu"],
    number: ["_IO", 0xa3],
    capability: "KVM_CAP_GET_TSC_KHZ",
  },
  KVM_ENABLE_CAP: {
    levels: ["vm", "vcpu"],
    number: ["_IOW", 0xa3, "kvm_enable_cap"],
    capability: "KVM_CAP_ENABLE_CAP_VM",
  },
  KVM_SIGNAL_MSI: {
    levels: ["vm"],
    number: ["_IOW", 0xa5, "kvm_msi"],
    capability: "KVM_CAP_SIGNAL_MSI",
  },
  KVM_SET_PMU_EVENT_FILTER: {
    levels: ["vm"],
    number: ["_IOW", 0xb2, "kvm_pmu_event_filter"],
    capability: "KVM_CAP_PMU_EVENT_FILTER",
  },
  KVM_MEMORY_ENCRYPT_OP: { levels: ["vm", "vcpu"], number: ["_IOWR", 0xba, "ulong"] },
  KVM_MEMORY_ENCRYPT_REG_REGION: { levels: ["vm"], number: ["_IOR", 0xbb, "kvm_enc_region"] },
  KVM_MEMORY_ENCRYPT_UNREG_REGION: { levels: ["vm"], number: ["_IOR", 0xbc, "kvm_enc_region"] },
  KVM_HYPERV_EVENTFD: {
    levels: ["vm"],
    number: ["_IOW", 0xbd, "kvm_hyperv_eventfd"],
    capability: "KVM_CAP_HYPERV_EVENTFD",
  },
  KVM_CLEAR_DIRTY_LOG: {
    levels: ["vm"],
    number: ["_IOWR", 0xc0, "kvm_clear_dirty_log"],
    capability: "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2",
  },
  KVM_X86_SET_MSR_FILTER: {
    levels: ["vm"],
    number: ["_IOW", 0xc6, "kvm_msr_filter"],
    capability: "KVM_CAP_X86_MSR_FILTER",
  },
  KVM_RESET_DIRTY_RINGS: {
    levels: ["vm"],
    number: ["_IO", 0xc7],
    capability: "KVM_CAP_DIRTY_LOG_RING",
  },
  KVM_XEN_HVM_GET_ATTR: {
    levels: ["vm"],
    number: ["_IOWR", 0xc8, "kvm_xen_hvm_attr"],
    capability: "KVM_CAP_XEN_HVM",
  },
  KVM_XEN_HVM_SET_ATTR: {
    levels: ["vm"],
    number: ["_IOW", 0xc9, "kvm_xen_hvm_attr"],
    capability: "KVM_CAP_XEN_HVM",
  },
  KVM_GET_STATS_FD: {
    levels: ["vm", "vcpu"],
    number: ["_IO", 0xce],
    capability: "KVM_CAP_BINARY_STATS_FD",
    since: "5.14",
  },
  KVM_XEN_HVM_EVTCHN_SEND: {
    levels: ["vm"],
    number: ["_IOW", 0xd0, "kvm_irq_routing_xen_evtchn"],
    capability: "KVM_CAP_XEN_HVM",
    since: "5.19",
  },
  KVM_SET_MEMORY_ATTRIBUTES: {
    levels: ["vm"],
    number: ["_IOW", 0xd2, "kvm_memory_attributes"],
    capability: "KVM_CAP_MEMORY_ATTRIBUTES",
    since: "6.8",
  },
  KVM_CREATE_GUEST_MEMFD: {
    levels: ["vm"],
    number: ["_IOWR", 0xd4, "kvm_create_guest_memfd"],
    capability: "KVM_CAP_GUEST_MEMFD",
    since: "6.8",
  },
  KVM_CREATE_DEVICE: {
    levels: ["vm"],
    number: ["_IOWR", 0xe0, "kvm_create_device"],
    capability: "KVM_CAP_DEVICE_CTRL",
  },
} as const;
