import { errnoName } from "./errno.ts";

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
