import { flexible, s16, type Struct, struct, u16, u32, u8 } from "../../../ffi/struct.ts";

/** What {@linkcode kvm_stats_header} reads as. */
export type KvmStatsHeader = {
  flags: number;
  name_size: number;
  num_desc: number;
  id_offset: number;
  desc_offset: number;
  data_offset: number;
};

/** `struct kvm_stats_header`: the start of the file that KVM_GET_STATS_FD opens (api.rst 4.133). */
export const kvm_stats_header: Struct<KvmStatsHeader> = struct("kvm_stats_header", {
  flags: u32,
  name_size: u32,
  num_desc: u32,
  id_offset: u32,
  desc_offset: u32,
  data_offset: u32,
});

/** What {@linkcode kvm_stats_desc} reads as. */
export type KvmStatsDesc = {
  flags: number;
  exponent: number;
  size: number;
  offset: number;
  bucket_size: number;
  name: Uint8Array;
};

/**
 * `struct kvm_stats_desc`: one statistic; `name` is as long as the header's `name_size` says: give a view
 * that ends there.
 */
export const kvm_stats_desc: Struct<KvmStatsDesc> = struct("kvm_stats_desc", {
  flags: u32,
  exponent: s16,
  size: u16,
  offset: u32,
  bucket_size: u32,
  name: flexible(u8),
});
