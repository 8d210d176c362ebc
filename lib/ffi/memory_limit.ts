import { SC } from "./files.ts";
import type { Libc } from "./libc.ts";
import { PAGE_SIZE } from "./mman.ts";
import { readText } from "./read_text.ts";

/** A limit on memory, and whose it is. */
export interface MemoryLimit {
  /** Bytes. */
  readonly bytes: number;
  /** `"this host"`, or a cgroup. */
  readonly of: string;
}

/** What every cgroup has that runs a test: for less its files are not read. */
const SMALL = 64 * 1024 * 1024;

/**
 * The least of the limits on this process's memory: what the host has, and what its cgroup and those above it may take
 * (cgroups(7); Documentation/admin-guide/cgroup-v2.rst, memory.max; cgroup-v1/memory.rst). Undefined where none is known.
 *
 * @param size How much is wanted, in bytes.
 */
export function memoryLimit(libc: Libc, size: number): MemoryLimit | undefined {
  const limits = [...hostLimits(libc), ...size > SMALL ? cgroupLimits(libc) : []];
  return limits.reduce<MemoryLimit | undefined>(
    (least, limit) => least === undefined || limit.bytes < least.bytes ? limit : least,
    undefined,
  );
}

function hostLimits(libc: Libc): MemoryLimit[] {
  const pages = libc.sysconf(SC.PHYS_PAGES);
  // A host that does not say how much it has is asked by the allocation itself.
  return pages < 0 ? [] : [{ bytes: pages * PAGE_SIZE, of: "this host" }];
}

function cgroupLimits(libc: Libc): MemoryLimit[] {
  const groups = (readText(libc, "/proc/self/cgroup") ?? "").split("\n").flatMap((line) => {
    const [id, controllers, path] = line.split(":");
    if (path === undefined) return [];
    if (id === "0" && controllers === "") return [["/sys/fs/cgroup", "memory.max", path]];
    if (!controllers.split(",").includes("memory")) return [];
    return [["/sys/fs/cgroup/memory", "memory.limit_in_bytes", path]];
  });
  return groups.flatMap(([root, file, path]) =>
    ancestors(path).flatMap((group) => {
      const bytes = Number(readText(libc, `${root}${group}/${file}`)?.trim() || NaN);
      return Number.isSafeInteger(bytes) ? [{ bytes, of: `the cgroup ${group || "/"}` }] : [];
    })
  );
}

/** `/a/b`, `/a`, and the root, which is empty. */
function ancestors(path: string): string[] {
  const names = path.split("/").filter((name) => name !== "");
  return Array.from(
    { length: names.length + 1 },
    (_, above) => names.slice(0, names.length - above).map((name) => `/${name}`).join(""),
  );
}
