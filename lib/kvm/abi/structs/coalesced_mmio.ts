import {
  array,
  flexible,
  hoisted,
  type Struct,
  struct,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";

/** What {@linkcode kvm_coalesced_mmio_zone} reads as. */
export type KvmCoalescedMmioZone = {
  addr: bigint;
  size: number;
  pad: number;
  pio: number;
};

/**
 * `struct kvm_coalesced_mmio_zone`: KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO (api.rst
 * 4.116).
 */
export const kvm_coalesced_mmio_zone: Struct<KvmCoalescedMmioZone> = struct(
  "kvm_coalesced_mmio_zone",
  { addr: u64, size: u32, space: hoisted(union({ pad: u32, pio: u32 })) },
);

/** What {@linkcode kvm_coalesced_mmio} reads as. */
export type KvmCoalescedMmio = {
  phys_addr: bigint;
  len: number;
  pad: number;
  pio: number;
  data: Uint8Array;
};

/** `struct kvm_coalesced_mmio`: one write that made no exit. */
export const kvm_coalesced_mmio: Struct<KvmCoalescedMmio> = struct("kvm_coalesced_mmio", {
  phys_addr: u64,
  len: u32,
  space: hoisted(union({ pad: u32, pio: u32 })),
  data: array(u8, 8),
});

/** What {@linkcode kvm_coalesced_mmio_ring} reads as. */
export type KvmCoalescedMmioRing = {
  first: number;
  last: number;
  coalesced_mmio: KvmCoalescedMmio[];
};

/**
 * `struct kvm_coalesced_mmio_ring`: the ring in the vCPU's mapping; its slots reach to the end of the page.
 */
export const kvm_coalesced_mmio_ring: Struct<KvmCoalescedMmioRing> = struct(
  "kvm_coalesced_mmio_ring",
  { first: u32, last: u32, coalesced_mmio: flexible(kvm_coalesced_mmio) },
);
