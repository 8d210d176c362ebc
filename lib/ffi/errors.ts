/**
 * The errno values of Linux on x86 (`asm-generic/errno-base.h`, `errno.h`) that KVM and libc calls here can
 * end with.
 */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EDOM: 33,
  ERANGE: 34,
  ENOSYS: 38,
  ENODATA: 61,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  EHWPOISON: 133,
} as const;

const NAMES = new Map<number, string>(
  Object.entries(ERRNO).map(([name, value]) => [value, name]),
);

/**
 * The name of an errno value as the manual pages write it, or `errno 71` for one that has none here.
 *
 * @param errno As {@linkcode Libc.errno} gives it.
 * @example
 * ```ts
 * import { errnoName } from "@vmexit/vmexit/kvm";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(errnoName(22), "EINVAL");
 * ```
 */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/**
 * The host cannot do what vmexit needs: a device is missing, a permission is refused, a limit is reached.
 * It says nothing of the guest. The message names what is missing and what to do about it.
 */
export class HostError extends Error {
  /** The name that reporters print. */
  override readonly name = "HostError";
}

/** A call of the C library failed. It carries the call's name and errno; `KvmError` is its kin for ioctls. */
export class SystemError extends Error {
  /** The name that reporters print. */
  override readonly name = "SystemError";
  /** The libc function that failed: `"mmap"`. */
  readonly call: string;
  /** The errno it left. */
  readonly errno: number;

  /**
   * The error of one call.
   *
   * @param what What was being done and to what, and what to do about it.
   */
  constructor(call: string, errno: number, what: string) {
    super(`${call} failed with ${errnoName(errno)} (${errno}): ${what}`);
    this.call = call;
    this.errno = errno;
  }
}
