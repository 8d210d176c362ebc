import { array, s32, type Struct, struct, u32, u64, union } from "../../../ffi/struct.ts";

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
