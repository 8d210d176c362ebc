import {
  array,
  bitfields,
  hoisted,
  s64,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";

/** What {@linkcode kvm_pic_state} reads as. */
export type KvmPicState = {
  last_irr: number;
  irr: number;
  imr: number;
  isr: number;
  priority_add: number;
  irq_base: number;
  read_reg_select: number;
  poll: number;
  special_mask: number;
  init_state: number;
  auto_eoi: number;
  rotate_on_auto_eoi: number;
  special_fully_nested_mode: number;
  init4: number;
  elcr: number;
  elcr_mask: number;
};

/** `struct kvm_pic_state`: one of the two 8259s. */
export const kvm_pic_state: Struct<KvmPicState> = struct("kvm_pic_state", {
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
});

/** What {@linkcode kvm_ioapic_state} reads as. */
export type KvmIoapicState = {
  base_address: bigint;
  ioregsel: number;
  id: number;
  irr: number;
  pad: number;
  redirtbl: {
    bits: bigint;
    fields: {
      vector: number;
      delivery_mode: number;
      dest_mode: number;
      delivery_status: number;
      polarity: number;
      remote_irr: number;
      trig_mode: number;
      mask: number;
      reserve: number;
      reserved: Uint8Array;
      dest_id: number;
    };
  }[];
};

/** `struct kvm_ioapic_state`: the IOAPIC; each redirection entry as 64 bits and by field. */
export const kvm_ioapic_state: Struct<KvmIoapicState> = struct("kvm_ioapic_state", {
  base_address: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  pad: u32,
  redirtbl: array(
    union({
      bits: u64,
      fields: struct("", {
        vector: u8,
        delivery: hoisted(bitfields(u8, {
          delivery_mode: 3,
          dest_mode: 1,
          delivery_status: 1,
          polarity: 1,
          remote_irr: 1,
          trig_mode: 1,
        })),
        masking: hoisted(bitfields(u8, { mask: 1, reserve: 7 })),
        reserved: array(u8, 4),
        dest_id: u8,
      }),
    }),
    24,
  ),
});

/** What {@linkcode kvm_irqchip} reads as. */
export type KvmIrqchip = {
  chip_id: number;
  pad: number;
  chip: {
    dummy: Uint8Array;
    pic: KvmPicState;
    ioapic: KvmIoapicState;
  };
};

/**
 * `struct kvm_irqchip`: `chip_id` is of `KVM_IRQCHIP`. KVM_GET_IRQCHIP, KVM_SET_IRQCHIP (api.rst 4.26, 4.27).
 */
export const kvm_irqchip: Struct<KvmIrqchip> = struct("kvm_irqchip", {
  chip_id: u32,
  pad: u32,
  chip: union({ dummy: array(u8, 512), pic: kvm_pic_state, ioapic: kvm_ioapic_state }),
});

/** What {@linkcode kvm_lapic_state} reads as. */
export type KvmLapicState = {
  regs: Uint8Array;
};

/**
 * `struct kvm_lapic_state`: the local APIC's register page. KVM_GET_LAPIC, KVM_SET_LAPIC (api.rst 4.57,
 * 4.58).
 */
export const kvm_lapic_state: Struct<KvmLapicState> = struct("kvm_lapic_state", {
  regs: array(u8, 0x400),
});

/** What {@linkcode kvm_tpr_access_ctl} reads as. */
export type KvmTprAccessCtl = {
  enabled: number;
  flags: number;
  reserved: number[];
};

/** `struct kvm_tpr_access_ctl`: KVM_TPR_ACCESS_REPORTING, which makes KVM_EXIT_TPR_ACCESS. */
export const kvm_tpr_access_ctl: Struct<KvmTprAccessCtl> = struct("kvm_tpr_access_ctl", {
  enabled: u32,
  flags: u32,
  reserved: array(u32, 8),
});

/** What {@linkcode kvm_vapic_addr} reads as. */
export type KvmVapicAddr = {
  vapic_addr: bigint;
};

/** `struct kvm_vapic_addr`: KVM_SET_VAPIC_ADDR: where the guest keeps its virtual APIC page. */
export const kvm_vapic_addr: Struct<KvmVapicAddr> = struct("kvm_vapic_addr", { vapic_addr: u64 });

/** What {@linkcode kvm_pit_channel_state} reads as. */
export type KvmPitChannelState = {
  count: number;
  latched_count: number;
  count_latched: number;
  status_latched: number;
  status: number;
  read_state: number;
  write_state: number;
  write_latch: number;
  rw_mode: number;
  mode: number;
  bcd: number;
  gate: number;
  count_load_time: bigint;
};

/** `struct kvm_pit_channel_state`: one of the 8254's three counters. `count` can be 65536. */
export const kvm_pit_channel_state: Struct<KvmPitChannelState> = struct("kvm_pit_channel_state", {
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  count_load_time: s64,
});

/** What {@linkcode kvm_pit_state} reads as. */
export type KvmPitState = {
  channels: KvmPitChannelState[];
};

/** `struct kvm_pit_state`: the legacy KVM_GET_PIT, KVM_SET_PIT. */
export const kvm_pit_state: Struct<KvmPitState> = struct("kvm_pit_state", {
  channels: array(kvm_pit_channel_state, 3),
});

/** What {@linkcode kvm_pit_state2} reads as. */
export type KvmPitState2 = KvmPitState & {
  flags: number;
  reserved: number[];
};

/** `struct kvm_pit_state2`: `flags` are `KVM_PIT_FLAGS`'. KVM_GET_PIT2, KVM_SET_PIT2 (api.rst 4.72, 4.73). */
export const kvm_pit_state2: Struct<KvmPitState2> = struct("kvm_pit_state2", {
  channels: array(kvm_pit_channel_state, 3),
  flags: u32,
  reserved: array(u32, 9),
});

/** What {@linkcode kvm_pit_config} reads as. */
export type KvmPitConfig = {
  flags: number;
  pad: number[];
};

/** `struct kvm_pit_config`: KVM_CREATE_PIT2 (api.rst 4.71). */
export const kvm_pit_config: Struct<KvmPitConfig> = struct("kvm_pit_config", {
  flags: u32,
  pad: array(u32, 15),
});

/** What {@linkcode kvm_reinject_control} reads as. */
export type KvmReinjectControl = {
  pit_reinject: number;
  reserved: Uint8Array;
};

/** `struct kvm_reinject_control`: KVM_REINJECT_CONTROL: whether missed PIT ticks are made up for. */
export const kvm_reinject_control: Struct<KvmReinjectControl> = struct("kvm_reinject_control", {
  pit_reinject: u8,
  reserved: array(u8, 31),
});
