import { memoryLimit } from "../../lib/ffi/memory_limit.ts";
import type { Libc } from "@vmexit/vmexit/kvm";
import { assertEquals, fail } from "@std/assert";

const LARGE = 2 ** 30;

/** A C library with these files, and so many pages of memory. */
function hostOf(files: Readonly<Record<string, string>>, pages = 1000): Libc {
  const rest = new Map<number, Uint8Array>();
  return {
    sysconf: () => pages,
    open(path: string) {
      if (files[path] === undefined) return -2;
      rest.set(rest.size + 3, new TextEncoder().encode(files[path]));
      return rest.size + 2;
    },
    read(fd: number, into: Uint8Array) {
      const bytes = rest.get(fd)!;
      into.set(bytes);
      rest.set(fd, new Uint8Array());
      return bytes.length;
    },
    close: () => 0,
  } as unknown as Libc;
}

const cases: readonly {
  name: string;
  files: Record<string, string>;
  limit: [bytes: number, of: string];
  pages?: number;
}[] = [
  { name: "no cgroup", files: {}, limit: [4_096_000, "this host"] },
  {
    name: "version 2, no limit",
    files: { "/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/memory.max": "max\n" },
    limit: [4_096_000, "this host"],
  },
  {
    name: "version 2, a limit of a group above",
    files: {
      "/proc/self/cgroup": "0::/a/b\n",
      "/sys/fs/cgroup/a/b/memory.max": "max\n",
      "/sys/fs/cgroup/a/memory.max": "65536\n",
    },
    limit: [65_536, "the cgroup /a"],
  },
  {
    name: "version 2, a container's root",
    files: { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "8192\n" },
    limit: [8192, "the cgroup /"],
  },
  {
    name: "version 1, beside other controllers",
    files: {
      "/proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/y\n0::/\n",
      "/sys/fs/cgroup/memory/y/memory.limit_in_bytes": "12288\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    },
    limit: [12_288, "the cgroup /y"],
  },
  {
    name: "a host that does not say what it has",
    files: { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "8192\n" },
    pages: -1,
    limit: [8192, "the cgroup /"],
  },
];

Deno.test.each(cases)("the memory that there may be: $name", ({ files, pages, limit }) => {
  const found = memoryLimit(hostOf(files, pages), LARGE);
  assertEquals([found?.bytes, found?.of], limit);
});

Deno.test("a host of which nothing is known has no limit", () => {
  assertEquals(memoryLimit(hostOf({}, -1), LARGE), undefined);
});

Deno.test("for little memory no file is read", () => {
  const host = { ...hostOf({}), open: () => fail("opens a file") } as unknown as Libc;
  assertEquals(memoryLimit(host, 2 ** 20)?.of, "this host");
});
