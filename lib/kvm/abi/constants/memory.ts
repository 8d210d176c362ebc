/** Flags of a memory slot (api.rst 4.35). */
export const KVM_MEM = {
  LOG_DIRTY_PAGES: 1,
  READONLY: 2,
  GUEST_MEMFD: 4,
} as const;

/** Bits of `kvm_memory_attributes.attributes` (api.rst 4.141). */
export const KVM_MEMORY_ATTRIBUTE = {
  PRIVATE: 8n,
} as const;

/** Bits of `kvm_create_guest_memfd.flags` (api.rst 4.142). */
export const GUEST_MEMFD_FLAG = {
  MMAP: 1n,
  INIT_SHARED: 2n,
} as const;

/** Arguments of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (api.rst 7). */
export const KVM_DIRTY_LOG = {
  MANUAL_PROTECT_ENABLE: 1,
  INITIALLY_SET: 2,
} as const;

/**
 * Bits of `kvm_dirty_gfn.flags`: dirty when KVM wrote it, reset when the process has read it (api.rst 7,
 * KVM_CAP_DIRTY_LOG_RING).
 */
export const KVM_DIRTY_GFN_F = {
  DIRTY: 1,
  RESET: 2,
  MASK: 3,
} as const;
