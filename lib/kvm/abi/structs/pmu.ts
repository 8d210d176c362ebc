import { array, flexible, type Struct, struct, u32, u64 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_pmu_event_filter} reads as. */
export type KvmPmuEventFilter = {
  action: number;
  nevents: number;
  fixed_counter_bitmap: number;
  flags: number;
  pad: number[];
  events: bigint[];
};

/**
 * `struct kvm_pmu_event_filter`: KVM_SET_PMU_EVENT_FILTER; `action` is of `KVM_PMU_EVENT` (api.rst 4.120).
 */
export const kvm_pmu_event_filter: Struct<KvmPmuEventFilter> = struct("kvm_pmu_event_filter", {
  action: u32,
  nevents: u32,
  fixed_counter_bitmap: u32,
  flags: u32,
  pad: array(u32, 4),
  events: flexible(u64, "nevents"),
});
