import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { describeWalk, type PageWalk, walkPageTables } from "../../../lib/x86/paging/page_walk.ts";
import { cr4Flags, eferFlags } from "../../../lib/x86/registers/flag_tables.ts";
import { flagsToValue } from "../../../lib/x86/registers/flags.ts";
import { type PagingMode, pagingModeOf } from "../../../lib/x86/paging/page_levels.ts";
import type { PageMapping } from "../../../lib/x86/paging/page_mapping.ts";
import { buildPageTables, type PageTables } from "../../../lib/x86/paging/page_tables.ts";
import { memoryOf } from "../memory_of.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const LONG = flagsToValue(eferFlags, { lme: true, lma: true, nxe: true });
const NXE = flagsToValue(eferFlags, { nxe: true });

/** The registers that make the CPU read tables in each way. */
const registers: Record<PagingMode, { cr4: bigint; efer: bigint }> = {
  "32-bit": { cr4: flagsToValue(cr4Flags, { pse: true }), efer: 0n },
  PAE: { cr4: flagsToValue(cr4Flags, { pae: true }), efer: NXE },
  "4-level": { cr4: flagsToValue(cr4Flags, { pae: true }), efer: LONG },
  "5-level": { cr4: flagsToValue(cr4Flags, { pae: true, la57: true }), efer: LONG },
};
const pagingModes = Object.keys(registers) as PagingMode[];

function build(paging: PagingMode, ...mappings: PageMapping[]): PageTables {
  return buildPageTables({ areas: [{ start: 0x1000, end: 0x4_0000 }], mappings, paging });
}

function walk(paging: PagingMode, { cr3, writes }: PageTables, linear: number | bigint): PageWalk {
  return walkPageTables({ cr3, ...registers[paging], linear, read: memoryOf(writes) });
}

function entry32({ writes }: PageTables, gpa: number): number {
  const write = writes.find((each) => gpa >= each.gpa && gpa < each.gpa + each.bytes.length)!;
  return new DataView(write.bytes.buffer).getUint32(gpa - write.gpa, true);
}

Deno.test.each(pagingModes.map((paging) => ({ paging })))(
  "CR0, CR4 and EFER say that paging is $paging",
  ({ paging }) => {
    assertEquals(pagingModeOf({ cr0: 0x8000_0001n, ...registers[paging] }), paging);
    assertEquals(pagingModeOf({ cr0: 1n, ...registers[paging] }), undefined);
  },
);

Deno.test("LA57 outside long mode does not count", () => {
  const { cr4 } = registers["5-level"];
  assertEquals(pagingModeOf({ cr0: 0x8000_0001n, cr4, efer: 0n }), "PAE");
});

Deno.test("32-bit paging: two levels of 4-byte entries", () => {
  const tables = build("32-bit", { linear: 0xc000_1000, physical: 0x5000, size: 0x1000 });
  assertEquals(tables.writes.map(({ what }) => what), ["PD", "PT of linear 0xc0001000"]);
  assertEquals(entry32(tables, 0x1000 + 0x300 * 4), 0x2003);
  assertEquals(entry32(tables, 0x2004), 0x5003);
  assertEquals([...tables.pageSizes], ["4K"]);
  assertEquals(describeWalk(walk("32-bit", tables, 0xc000_1234)), [
    "linear 0xc0001234, cr3 0x1000, 32-bit paging",
    "PDE   at 0x1c00: 0x00002003 writable, supervisor, executable",
    "PTE   at 0x2004: 0x00005003 writable, supervisor, executable, 4K page",
    "physical 0x5234 in a 4K page: writable, supervisor, executable",
  ]);
});

Deno.test("32-bit paging: 4 MiB pages are taken where they fit, and have bits 39:32 of their address in bits 20:13", () => {
  const tables = build(
    "32-bit",
    { linear: 0, size: 4 * MIB + 0x1000 },
    { linear: GIB, physical: 0xab_0040_0000, size: 4 * MIB, pageSize: "4M" },
  );
  assertEquals(entry32(tables, 0x1000), 0x83);
  assertEquals(entry32(tables, 0x1400), 0x83 | 0x0040_0000 | 0xab << 13);
  assertEquals(tables.pageSizes, new Set(["4M", "4K"] as const));
  const { result } = walk("32-bit", tables, GIB + 0x123);
  assert("physical" in result);
  assertEquals([result.physical, result.pageSize], [0xab_0040_0123, "4M"] as unknown[]);
});

Deno.test("32-bit paging: without CR4.PSE an entry with PS leads to a table", () => {
  const tables = build("32-bit", { linear: 0, size: 4 * MIB });
  const { result, levels } = walkPageTables({
    cr3: tables.cr3,
    cr4: 0n,
    efer: 0n,
    linear: 0x1000,
    read: memoryOf(tables.writes),
  });
  assertEquals(levels.length, 1);
  assertEquals(result, { fault: "outside-memory", level: "PTE" });
});

Deno.test("PAE: the root has entries without permissions, one for each GiB", () => {
  const tables = build("PAE", { linear: 3 * GIB, physical: 0x5000, size: 0x1000, user: true });
  const root = new DataView(tables.writes[0].bytes.buffer);
  assertEquals([root.getBigUint64(0, true), root.getBigUint64(3 * 8, true)], [0n, 0x2001n]);
  const { levels, result } = walk("PAE", tables, 3 * GIB);
  assertEquals(levels.map(({ level }) => level), ["PDPTE", "PDE", "PTE"]);
  assertEquals(result, {
    physical: 0x5000,
    pageSize: "4K",
    writable: true,
    user: true,
    executable: true,
  });
});

Deno.test("5 levels: a PML5 above the four, and addresses of 57 bits", () => {
  const linear = 1n << 48n;
  const tables = build("5-level", { linear, physical: 0x5000, size: 0x1000 });
  assertEquals(tables.writes.map(({ what }) => what.split(" ")[0]), [
    "PML5",
    "PML4",
    "PDPT",
    "PD",
    "PT",
  ]);
  const { result } = walk("5-level", tables, linear);
  assert("physical" in result);
  assertEquals(walk("5-level", tables, 1n << 56n).result, { fault: "non-canonical" });
  assertEquals(walk("4-level", tables, linear).result, { fault: "non-canonical" });
});

Deno.test.each([{ paging: "32-bit" }, { paging: "PAE" }] as const)(
  "$paging paging: an address of more than 32 bits is too wide",
  ({ paging }) => {
    const found = walk(paging, build(paging), 2 ** 32);
    assertEquals(found.result, { fault: "too-wide" });
    assert(describeWalk(found)[1].startsWith("not mapped: the address has more than the 32 bits"));
  },
);

type Reserved = [paging: PagingMode, gpa: number, entry: bigint, level: string];
const reserved: Reserved[] = [
  ["32-bit", 0x1000, 0x20_0083n, "PDE"], // bit 21 of a 4 MiB page
  ["PAE", 0x1000, 0x2003n, "PDPTE"], // R/W, which it does not have
  ["PAE", 0x1000, 0x8000_0000_0000_2001n, "PDPTE"],
  ["PAE", 0x2000, 0x0010_0000_0000_3003n, "PDE"], // bit 52, software's in long mode
  ["5-level", 0x1000, 0x2083n, "PML5E"], // PS
];

Deno.test.each(reserved)(
  "%s paging: the entry at %i has a reserved bit",
  (paging, gpa, entry, level) => {
    const tables = build(paging, { linear: 0, physical: 0x5000, size: 0x1000 });
    const write = tables.writes.find((each) => each.gpa === gpa)!;
    new DataView(write.bytes.buffer).setBigUint64(0, entry, true);
    assertEquals<unknown>(walk(paging, tables, 0).result, { fault: "reserved-bit", level });
  },
);

type Refused = [paging: PagingMode, mapping: PageMapping, message: string];
const refused: Refused[] = [
  ["32-bit", { linear: 0, size: 2 * MIB, pageSize: "2M" }, '"4K", "4M" and "auto"'],
  ["PAE", { linear: 0, size: GIB, pageSize: "1G" }, '"4K", "2M" and "auto"'],
  ["4-level", { linear: 0, size: 4 * MIB, pageSize: "4M" }, '"4K", "2M", "1G" and "auto"'],
  ["32-bit", { linear: 0, size: 0x1000, executable: false }, "has no such pages"],
  ["32-bit", { linear: 2 ** 32 - 0x1000, size: 0x2000 }, "linear addresses have 32 bits"],
  ["PAE", { linear: 2 ** 32, size: 0x1000 }, "linear addresses have 32 bits"],
  ["32-bit", { linear: 0, physical: 2 ** 32, size: 0x1000 }, "a physical address has 32 bits"],
  [
    "32-bit",
    { linear: 0, physical: 2 ** 40, size: 4 * MIB, pageSize: "4M" },
    "a physical address has 40 bits",
  ],
  ["5-level", { linear: 1n << 56n, physical: 0, size: 0x1000 }, "stay below 0x100000000000000 "],
];

Deno.test.each(refused)("%s paging: %o is refused", (paging, mapping, message) => {
  assertThrows(() => build(paging, mapping), RangeError, message);
});

Deno.test("outside long mode the root must lie below 4 GiB", () => {
  const areas = [{ start: 2 ** 32, end: 2 ** 32 + 0x8000 }];
  assertThrows(
    () => buildPageTables({ areas, mappings: [], paging: "PAE" }),
    RangeError,
    "place it below 4 GiB",
  );
});

Deno.test("what was mapped is what a walk finds, in every paging mode", () => {
  const arbitrary = fc.record({
    paging: fc.constantFrom(...pagingModes),
    page: fc.nat({ max: 0xf_fff0 }),
    physical: fc.nat({ max: 0xf_fff0 }),
    pages: fc.integer({ min: 1, max: 16 }),
    writable: fc.boolean(),
    user: fc.boolean(),
    offset: fc.nat({ max: 0xfff }),
  });
  fc.assert(fc.property(arbitrary, ({ paging, page, physical, pages, offset, ...permissions }) => {
    const [linear, target, size] = [page * 0x1000, physical * 0x1000, pages * 0x1000];
    const tables = build(paging, { linear, physical: target, size, ...permissions });
    const { result } = walk(paging, tables, linear + size - 0x1000 + offset);
    assert("physical" in result);
    assertEquals(result.physical, target + size - 0x1000 + offset);
    assertEquals([result.writable, result.user], [permissions.writable, permissions.user]);
    assert("fault" in walk(paging, tables, linear + size).result);
  }));
});
