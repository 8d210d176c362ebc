import { array, flexible, pointer, type Struct, struct, u32, u64 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_msr_entry} reads as. */
export type KvmMsrEntry = {
  index: number;
  reserved: number;
  data: bigint;
};

/** `struct kvm_msr_entry`: an MSR by its number, and its value. */
export const kvm_msr_entry: Struct<KvmMsrEntry> = struct("kvm_msr_entry", {
  index: u32,
  reserved: u32,
  data: u64,
});

/** What {@linkcode kvm_msrs} reads as. */
export type KvmMsrs = {
  nmsrs: number;
  pad: number;
  entries: KvmMsrEntry[];
};

/** `struct kvm_msrs`: KVM_GET_MSRS, KVM_SET_MSRS; both return how many were done (api.rst 4.18, 4.19). */
export const kvm_msrs: Struct<KvmMsrs> = struct("kvm_msrs", {
  nmsrs: u32,
  pad: u32,
  entries: flexible(kvm_msr_entry, "nmsrs"),
});

/** What {@linkcode kvm_msr_list} reads as. */
export type KvmMsrList = {
  nmsrs: number;
  indices: number[];
};

/** `struct kvm_msr_list`: KVM_GET_MSR_INDEX_LIST, KVM_GET_MSR_FEATURE_INDEX_LIST (api.rst 4.3). */
export const kvm_msr_list: Struct<KvmMsrList> = struct("kvm_msr_list", {
  nmsrs: u32,
  indices: flexible(u32, "nmsrs"),
});

/** What {@linkcode kvm_msr_filter_range} reads as. */
export type KvmMsrFilterRange = {
  flags: number;
  nmsrs: number;
  base: number;
  bitmap: bigint;
};

/** `struct kvm_msr_filter_range`: `nmsrs` MSRs from `base`, a bit each: 1 allows what `flags` name. */
export const kvm_msr_filter_range: Struct<KvmMsrFilterRange> = struct("kvm_msr_filter_range", {
  flags: u32,
  nmsrs: u32,
  base: u32,
  bitmap: pointer,
});

/** What {@linkcode kvm_msr_filter} reads as. */
export type KvmMsrFilter = {
  flags: number;
  ranges: KvmMsrFilterRange[];
};

/**
 * `struct kvm_msr_filter`: KVM_X86_SET_MSR_FILTER; `flags` are `KVM_MSR_FILTER`'s defaults (api.rst 4.97).
 */
export const kvm_msr_filter: Struct<KvmMsrFilter> = struct("kvm_msr_filter", {
  flags: u32,
  ranges: array(kvm_msr_filter_range, 16),
});

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
