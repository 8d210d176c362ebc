/** Flags of `open(2)` (`fcntl.h`). */
export const O = { RDWR: 0x2, CLOEXEC: 0x8_0000 } as const;

/** Where `lseek(2)` counts from, and what it finds in a sparse file (`unistd.h`). */
export const SEEK = { END: 2, DATA: 3, HOLE: 4 } as const;

/**
 * Flags of `memfd_create(2)` (`linux/memfd.h`): no child inherits it, so none that is started meanwhile keeps it open.
 */
export const MFD = { CLOEXEC: 0x1 } as const;

/** Names of `sysconf(3)` (glibc's `bits/confname.h`): how many pages of memory there are. */
export const SC = { PHYS_PAGES: 85 } as const;
