import { array, s64, type Struct, struct, u16, u32, u8 } from "../../../ffi/struct.ts";

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
export type KvmPitState2 = {
  channels: KvmPitChannelState[];
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
