import {
  array,
  s32,
  since,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";

/** What {@linkcode kvm_hyperv_exit} reads as. */
export type KvmHypervExit = {
  type: number;
  pad1: number;
  u: {
    synic: { msr: number; pad2: number; control: bigint; evt_page: bigint; msg_page: bigint };
    hcall: { input: bigint; result: bigint; params: bigint[] };
    syndbg: {
      msr: number;
      pad2: number;
      control: bigint;
      status: bigint;
      send_page: bigint;
      recv_page: bigint;
      pending_page: bigint;
    };
  };
};

/**
 * `struct kvm_hyperv_exit`: what a KVM_EXIT_HYPERV carries; `type` is one of `KVM_EXIT_HYPERV` (api.rst 5).
 */
export const kvm_hyperv_exit: Struct<KvmHypervExit> = struct("kvm_hyperv_exit", {
  type: u32,
  pad1: u32,
  u: union({
    synic: struct("", { msr: u32, pad2: u32, control: u64, evt_page: u64, msg_page: u64 }),
    hcall: struct("", { input: u64, result: u64, params: array(u64, 2) }),
    syndbg: struct("", {
      msr: u32,
      pad2: u32,
      control: u64,
      status: u64,
      send_page: u64,
      recv_page: u64,
      pending_page: u64,
    }),
  }),
});

/** What {@linkcode kvm_hyperv_eventfd} reads as. */
export type KvmHypervEventfd = {
  conn_id: number;
  fd: number;
  flags: number;
  padding: number[];
};

/** `struct kvm_hyperv_eventfd`: KVM_HYPERV_EVENTFD (api.rst 4.113). */
export const kvm_hyperv_eventfd: Struct<KvmHypervEventfd> = struct("kvm_hyperv_eventfd", {
  conn_id: u32,
  fd: s32,
  flags: u32,
  padding: array(u32, 3),
});

/** What {@linkcode kvm_xen_exit} reads as. */
export type KvmXenExit = {
  type: number;
  u: { hcall: { longmode: number; cpl: number; input: bigint; result: bigint; params: bigint[] } };
};

/** `struct kvm_xen_exit`: what a KVM_EXIT_XEN carries; `type` is KVM_EXIT_XEN_HCALL (api.rst 5). */
export const kvm_xen_exit: Struct<KvmXenExit> = struct("kvm_xen_exit", {
  type: u32,
  u: union({
    hcall: struct("", {
      longmode: u32,
      cpl: u32,
      input: u64,
      result: u64,
      params: array(u64, 6),
    }),
  }),
});

/** What {@linkcode kvm_xen_hvm_config} reads as. */
export type KvmXenHvmConfig = {
  flags: number;
  msr: number;
  blob_addr_32: bigint;
  blob_addr_64: bigint;
  blob_size_32: number;
  blob_size_64: number;
  pad2: Uint8Array;
};

/** `struct kvm_xen_hvm_config`: KVM_XEN_HVM_CONFIG; `flags` are `KVM_XEN_HVM_CONFIG`'s (api.rst 4.28). */
export const kvm_xen_hvm_config: Struct<KvmXenHvmConfig> = struct("kvm_xen_hvm_config", {
  flags: u32,
  msr: u32,
  blob_addr_32: u64,
  blob_addr_64: u64,
  blob_size_32: u8,
  blob_size_64: u8,
  pad2: array(u8, 30),
});

/** What {@linkcode kvm_xen_hvm_attr} reads as. */
export type KvmXenHvmAttr = {
  type: number;
  pad: number[];
  u: {
    long_mode: number;
    vector: number;
    runstate_update_flag: number;
    shared_info: { gfn: bigint; hva: bigint };
    evtchn: {
      send_port: number;
      type: number;
      flags: number;
      deliver: {
        port: { port: number; vcpu: number; priority: number };
        eventfd: { port: number; fd: number };
        padding: number[];
      };
    };
    xen_version: number;
    pad: bigint[];
  };
};

/** `struct kvm_xen_hvm_attr`: KVM_XEN_HVM_GET_ATTR, KVM_XEN_HVM_SET_ATTR (api.rst 4.127, 4.126). */
export const kvm_xen_hvm_attr: Struct<KvmXenHvmAttr> = struct("kvm_xen_hvm_attr", {
  type: u16,
  pad: array(u16, 3),
  u: union({
    long_mode: u8,
    vector: u8,
    runstate_update_flag: since("6.2", u8),
    shared_info: union({ gfn: u64, hva: since("6.9", u64) }),
    evtchn: struct("", {
      send_port: u32,
      type: u32,
      flags: u32,
      deliver: union({
        port: struct("", { port: u32, vcpu: u32, priority: u32 }),
        eventfd: struct("", { port: u32, fd: s32 }),
        padding: array(u32, 4),
      }),
    }),
    xen_version: u32,
    pad: array(u64, 8),
  }),
});

/** What {@linkcode kvm_xen_vcpu_attr} reads as. */
export type KvmXenVcpuAttr = {
  type: number;
  pad: number[];
  u: {
    gpa: bigint;
    hva: bigint;
    pad: bigint[];
    runstate: {
      state: bigint;
      state_entry_time: bigint;
      time_running: bigint;
      time_runnable: bigint;
      time_blocked: bigint;
      time_offline: bigint;
    };
    vcpu_id: number;
    timer: { port: number; priority: number; expires_ns: bigint };
    vector: number;
  };
};

/** `struct kvm_xen_vcpu_attr`: KVM_XEN_VCPU_GET_ATTR, KVM_XEN_VCPU_SET_ATTR (api.rst 4.129, 4.128). */
export const kvm_xen_vcpu_attr: Struct<KvmXenVcpuAttr> = struct("kvm_xen_vcpu_attr", {
  type: u16,
  pad: array(u16, 3),
  u: union({
    gpa: u64,
    hva: since("6.9", u64),
    pad: array(u64, 8),
    runstate: struct("", {
      state: u64,
      state_entry_time: u64,
      time_running: u64,
      time_runnable: u64,
      time_blocked: u64,
      time_offline: u64,
    }),
    vcpu_id: u32,
    timer: struct("", { port: u32, priority: u32, expires_ns: u64 }),
    vector: u8,
  }),
});
