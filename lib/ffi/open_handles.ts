/** How many of each kind of resource are open. */
export interface OpenHandles {
  /** File descriptors owned by an `OwnedFd`. */
  fds: number;
  /** Mappings owned by a `Mapping`. */
  mappings: number;
  /** POSIX timers owned by a `ThreadTimer`. */
  timers: number;
}

const counts: OpenHandles = { fds: 0, mappings: 0, timers: 0 };

/**
 * What vmexit holds open in this thread. Deno's resource sanitizer does not see file descriptors that
 * libc opened; a test that compares this before and after finds a leak that the sanitizer cannot.
 *
 * @example
 * ```ts
 * import { openHandles } from "@vmexit/vmexit/kvm";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(openHandles(), { fds: 0, mappings: 0, timers: 0 });
 * ```
 */
export function openHandles(): OpenHandles {
  return { ...counts };
}

/** Counts one handle opened (+1) or closed (-1). For the owners in `lib/ffi` alone. */
export function countHandle(kind: keyof OpenHandles, change: 1 | -1): void {
  counts[kind] += change;
}
