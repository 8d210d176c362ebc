import { assert, assertEquals } from "@std/assert";
import {
  describeWalk,
  type PageWalk,
  type PageWalkOptions,
  walkPageTables,
} from "../../../lib/x86/paging/page_walk.ts";

/** A memory with these quadwords, and zeros in the rest of the first 64 KiB. */
function memory(entries: Record<number, bigint>): (gpa: number) => bigint | undefined {
  return (gpa) => gpa < 0x10000 ? entries[gpa] ?? 0n : undefined;
}

/** One way down to each kind of page: PT for 0, 2 MiB for 0x200000, 1 GiB for 0x40000000. */
const entries = {
  0x1000: 0x2007n,
  0x2000: 0x3027n,
  0x2008: 0x4000_0087n,
  0x3000: 0x4007n,
  0x3008: 0x60_00e7n,
  0x4000: 0x9065n,
  0x4008: 0x8000_0000_000a_0003n,
};

function walk(
  linear: number | bigint,
  changes: Record<number, bigint> = {},
  options: Partial<PageWalkOptions> = {},
): PageWalk {
  return walkPageTables({
    cr3: 0x1018n,
    linear,
    read: memory({ ...entries, ...changes }),
    ...options,
  });
}

Deno.test("a walk to a 4 KiB page passes four levels, each with what it says", () => {
  const { levels, result, linear } = walk(0x123);
  assertEquals(linear, 0x123n);
  assertEquals(result, {
    physical: 0x9123,
    pageSize: "4K",
    writable: false,
    user: true,
    executable: true,
  });
  assertEquals(levels.map(({ level, gpa, entry }) => [level, gpa, entry]), [
    ["PML4E", 0x1000, 0x2007n],
    ["PDPTE", 0x2000, 0x3027n],
    ["PDE", 0x3000, 0x4007n],
    ["PTE", 0x4000, 0x9065n],
  ]);
  assertEquals(levels[3], {
    level: "PTE",
    gpa: 0x4000,
    entry: 0x9065n,
    present: true,
    writable: false,
    user: true,
    noExecute: false,
    accessed: true,
    dirty: true,
    pageSize: "4K",
  });
  assertEquals(levels.map(({ accessed }) => accessed), [false, true, false, true]);
});

Deno.test("a walk ends early at a large page", () => {
  const two = walk(0x20_1234);
  assertEquals(two.levels.map(({ pageSize }) => pageSize), [undefined, undefined, "2M"]);
  assert("physical" in two.result);
  assertEquals(two.result.physical, 0x60_1234);
  const giga = walk(0x7fff_ffff);
  assertEquals(giga.levels.map(({ pageSize }) => pageSize), [undefined, "1G"]);
  assert("physical" in giga.result);
  assertEquals(giga.result.physical, 0x7fff_ffff);
});

Deno.test("the strictest entry on the way decides on permissions", () => {
  const allowed = (changes: Record<number, bigint>) => {
    const { result } = walk(0, { 0x4000: 0x9007n, ...changes });
    return "physical" in result && [result.writable, result.user, result.executable];
  };
  assertEquals(allowed({}), [true, true, true]);
  assertEquals(allowed({ 0x1000: 0x2005n }), [false, true, true]);
  assertEquals(allowed({ 0x2000: 0x3003n }), [true, false, true]);
  assertEquals(allowed({ 0x3000: 0x8000_0000_0000_4007n }), [true, true, false]);
});

type Fault = [what: string, walk: () => PageWalk, fault: unknown, levels: number];
const faults: Fault[] = [
  ["an absent PTE", () => walk(0x2000), { fault: "not-present", level: "PTE" }, 4],
  ["an absent PDE", () => walk(0x40_0000), { fault: "not-present", level: "PDE" }, 3],
  ["an absent PDPTE", () => walk(0x8000_0000), { fault: "not-present", level: "PDPTE" }, 2],
  ["an absent PML4E", () => walk(2 ** 40), { fault: "not-present", level: "PML4E" }, 1],
  [
    "an address between the halves",
    () => walk(0x8000_0000_0000n),
    { fault: "non-canonical" },
    0,
  ],
  [
    "a table outside memory",
    () => walk(0, { 0x3000: 0x10_0003n }),
    { fault: "outside-memory", level: "PTE" },
    3,
  ],
  [
    "a root outside memory",
    () => walk(0, {}, { cr3: 0x10_0000n }),
    { fault: "outside-memory", level: "PML4E" },
    0,
  ],
  [
    "PS in a PML4E",
    () => walk(0, { 0x1000: 0x2087n }),
    { fault: "reserved-bit", level: "PML4E" },
    1,
  ],
  [
    "a 2 MiB page that is not aligned",
    () => walk(0x20_0000, { 0x3008: 0x60_2087n }),
    { fault: "reserved-bit", level: "PDE" },
    3,
  ],
  [
    "a 1 GiB page that is not aligned",
    () => walk(0x4000_0000, { 0x2008: 0x4020_0087n }),
    { fault: "reserved-bit", level: "PDPTE" },
    2,
  ],
  [
    "XD without EFER.NXE",
    () => walk(0x1000, {}, { efer: 0x500n }),
    { fault: "reserved-bit", level: "PTE" },
    4,
  ],
  [
    "an address past the CPU's width",
    () => walk(0, { 0x4000: 0x100_0000_0003n }, { physicalAddressBits: 40 }),
    { fault: "reserved-bit", level: "PTE" },
    4,
  ],
];

Deno.test.each(faults)("a walk stops at %s", (_what, walked, fault, levels) => {
  const found = walked();
  assertEquals<unknown>(found.result, fault);
  assertEquals(found.levels.length, levels);
});

Deno.test("the PAT bit of a large page is not a reserved one, and no part of its address", () => {
  const { result } = walk(0x20_0000, { 0x3008: 0x60_1087n });
  assert("physical" in result);
  assertEquals(result.physical, 0x60_0000);
});

Deno.test("bits 62:52 of an entry are software's, and no part of its address", () => {
  const { result } = walk(0, { 0x1000: 0x7ff0_0000_0000_2007n, 0x4000: 0x7ff0_0000_0000_9007n });
  assert("physical" in result);
  assertEquals([result.physical, result.executable], [0x9000, true]);
});

Deno.test("XD is no reserved bit by default", () => {
  const { result } = walk(0x1000);
  assert("physical" in result);
  assertEquals(result.executable, false);
});

Deno.test("the reserved bits of an absent entry are not looked at", () => {
  const { result } = walk(0, { 0x1000: 0x80n });
  assertEquals(result, { fault: "not-present", level: "PML4E" });
});

Deno.test("a walk that succeeds is described level by level", () => {
  assertEquals(describeWalk(walk(0x20_1234)), [
    "linear 0x201234, cr3 0x1018",
    "PML4E at 0x1000: 0x0000000000002007 writable, user, executable",
    "PDPTE at 0x2000: 0x0000000000003027 writable, user, executable, accessed",
    "PDE   at 0x3008: 0x00000000006000e7 writable, user, executable, accessed, dirty, 2M page",
    "physical 0x601234 in a 2M page: writable, user, executable",
  ]);
});

Deno.test("a walk that fails is described up to the entry that is to blame", () => {
  assertEquals(describeWalk(walk(0x40_0000)).slice(3), [
    "PDE   at 0x3010: 0x0000000000000000 not present",
    "not mapped: the PDE is not present",
  ]);
  assertEquals(describeWalk(walk(0x1000, {}, { efer: 0x500n })).slice(4), [
    "PTE   at 0x4008: 0x80000000000a0003 writable, supervisor, no-execute, 4K page",
    "not mapped: the PTE has a reserved bit set",
  ]);
  assertEquals(describeWalk(walk(0x8000_0000_0000n)), [
    "linear 0x800000000000, cr3 0x1018",
    "not mapped: the address is not canonical",
  ]);
});
