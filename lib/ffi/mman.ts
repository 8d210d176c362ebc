/** Protection bits of `mmap(2)` (`asm-generic/mman-common.h`). */
export const PROT = { READ: 0x1, WRITE: 0x2 } as const;

/** Flags of `mmap(2)` (`linux/mman.h`, `asm-generic/mman-common.h`). */
export const MAP = { SHARED: 0x01, PRIVATE: 0x02, ANONYMOUS: 0x20, NORESERVE: 0x4000 } as const;

/** What `mmap(2)` returns when it fails: all ones. */
export const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** The size of a small page on x86, which is what KVM's memory slots are made of. */
export const PAGE_SIZE = 4096;

/** The size of a large page on x86, where the kernel has them. */
export const HUGE_PAGE_SIZE = 2 * 1024 * 1024;

/** Advice of `madvise(2)` (`asm-generic/mman-common.h`). */
export const MADV = { REMOVE: 9, HUGEPAGE: 14 } as const;
