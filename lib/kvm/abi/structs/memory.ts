import {
  array,
  flexible,
  hoisted,
  pointer,
  since,
  type Struct,
  struct,
  u32,
  u64,
  u8,
  union,
} from "../../../ffi/struct.ts";

/** What {@linkcode kvm_userspace_memory_region} reads as. */
export type KvmUserspaceMemoryRegion = {
  slot: number;
  flags: number;
  guest_phys_addr: bigint;
  memory_size: bigint;
  userspace_addr: bigint;
};

/**
 * `struct kvm_userspace_memory_region`: a memory slot. `flags` are `KVM_MEM`'s; a size of 0 deletes the slot.
 * KVM_SET_USER_MEMORY_REGION (api.rst 4.35).
 */
export const kvm_userspace_memory_region: Struct<KvmUserspaceMemoryRegion> = struct(
  "kvm_userspace_memory_region",
  { slot: u32, flags: u32, guest_phys_addr: u64, memory_size: u64, userspace_addr: u64 },
);

/** What {@linkcode kvm_userspace_memory_region2} reads as. */
export type KvmUserspaceMemoryRegion2 = {
  slot: number;
  flags: number;
  guest_phys_addr: bigint;
  memory_size: bigint;
  userspace_addr: bigint;
  guest_memfd_offset: bigint;
  guest_memfd: number;
  pad1: number;
  pad2: bigint[];
};

/**
 * `struct kvm_userspace_memory_region2`: a memory slot that may have a guest_memfd behind it.
 * KVM_SET_USER_MEMORY_REGION2 (api.rst 4.140).
 */
export const kvm_userspace_memory_region2: Struct<KvmUserspaceMemoryRegion2> = since(
  "6.8",
  struct("kvm_userspace_memory_region2", {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
    guest_memfd_offset: u64,
    guest_memfd: u32,
    pad1: u32,
    pad2: array(u64, 14),
  }),
);

/** What {@linkcode kvm_memory_attributes} reads as. */
export type KvmMemoryAttributes = {
  address: bigint;
  size: bigint;
  attributes: bigint;
  flags: bigint;
};

/** `struct kvm_memory_attributes`: KVM_SET_MEMORY_ATTRIBUTES (api.rst 4.141). */
export const kvm_memory_attributes: Struct<KvmMemoryAttributes> = since(
  "6.8",
  struct("kvm_memory_attributes", { address: u64, size: u64, attributes: u64, flags: u64 }),
);

/** What {@linkcode kvm_create_guest_memfd} reads as. */
export type KvmCreateGuestMemfd = {
  size: bigint;
  flags: bigint;
  reserved: bigint[];
};

/** `struct kvm_create_guest_memfd`: KVM_CREATE_GUEST_MEMFD (api.rst 4.142). */
export const kvm_create_guest_memfd: Struct<KvmCreateGuestMemfd> = since(
  "6.8",
  struct("kvm_create_guest_memfd", { size: u64, flags: u64, reserved: array(u64, 6) }),
);

/** What {@linkcode kvm_pre_fault_memory} reads as. */
export type KvmPreFaultMemory = {
  gpa: bigint;
  size: bigint;
  flags: bigint;
  padding: bigint[];
};

/** `struct kvm_pre_fault_memory`: KVM_PRE_FAULT_MEMORY (api.rst 4.143). */
export const kvm_pre_fault_memory: Struct<KvmPreFaultMemory> = since(
  "6.11",
  struct("kvm_pre_fault_memory", { gpa: u64, size: u64, flags: u64, padding: array(u64, 5) }),
);

const bitmap = hoisted(union({ dirty_bitmap: pointer, padding2: u64 }));

/** What {@linkcode kvm_dirty_log} reads as. */
export type KvmDirtyLog = {
  slot: number;
  padding1: number;
  dirty_bitmap: bigint;
  padding2: bigint;
};

/** `struct kvm_dirty_log`: KVM_GET_DIRTY_LOG; the bitmap has one bit a page (api.rst 4.8). */
export const kvm_dirty_log: Struct<KvmDirtyLog> = struct("kvm_dirty_log", {
  slot: u32,
  padding1: u32,
  bitmap,
});

/** What {@linkcode kvm_clear_dirty_log} reads as. */
export type KvmClearDirtyLog = {
  slot: number;
  num_pages: number;
  first_page: bigint;
  dirty_bitmap: bigint;
  padding2: bigint;
};

/** `struct kvm_clear_dirty_log`: KVM_CLEAR_DIRTY_LOG (api.rst 4.117). */
export const kvm_clear_dirty_log: Struct<KvmClearDirtyLog> = struct("kvm_clear_dirty_log", {
  slot: u32,
  num_pages: u32,
  first_page: u64,
  bitmap,
});

/** What {@linkcode kvm_dirty_gfn} reads as. */
export type KvmDirtyGfn = {
  flags: number;
  slot: number;
  offset: bigint;
};

/**
 * `struct kvm_dirty_gfn`: an entry of a vCPU's dirty ring, in its mapping (api.rst 7,
 * KVM_CAP_DIRTY_LOG_RING).
 */
export const kvm_dirty_gfn: Struct<KvmDirtyGfn> = struct("kvm_dirty_gfn", {
  flags: u32,
  slot: u32,
  offset: u64,
});

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
