import { array, type Struct, struct, u32, u64 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_clock_data} reads as. */
export type KvmClockData = {
  clock: bigint;
  flags: number;
  pad0: number;
  realtime: bigint;
  host_tsc: bigint;
  pad: number[];
};

/**
 * `struct kvm_clock_data`: kvmclock in nanoseconds; `flags` are `KVM_CLOCK`'s. KVM_GET_CLOCK, KVM_SET_CLOCK
 * (api.rst 4.29, 4.30).
 */
export const kvm_clock_data: Struct<KvmClockData> = struct("kvm_clock_data", {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: array(u32, 4),
});
