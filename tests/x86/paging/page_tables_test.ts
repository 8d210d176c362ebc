import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { PageMapping } from "../../../lib/x86/paging/page_mapping.ts";
import { PAGE_SIZE, type PageSizeName } from "../../../lib/x86/paging/page_levels.ts";
import { buildPageTables, type PageTables } from "../../../lib/x86/paging/page_tables.ts";
import { walkPageTables } from "../../../lib/x86/paging/page_walk.ts";
import { memoryOf } from "../memory_of.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const room = [{ start: 0x1000, end: 0x100_0000 }];

function build(...mappings: PageMapping[]): PageTables {
  return buildPageTables({ areas: room, mappings });
}

function entry({ writes }: PageTables, gpa: number): bigint | undefined {
  return memoryOf(writes)(gpa);
}

function refuses(message: string, ...mappings: PageMapping[]): void {
  assertThrows(() => build(...mappings), RangeError, message);
}

Deno.test("the first GiB in 2 MiB pages takes three tables in a row, with these entries", () => {
  const tables = build({ linear: 0, size: GIB, pageSize: "2M" });
  assertEquals(tables.cr3, 0x1000n);
  assertEquals(tables.end, 0x4000);
  assertEquals(tables.writes.map(({ gpa, what, bytes }) => [gpa, what, bytes.length]), [
    [0x1000, "PML4", 4096],
    [0x2000, "PDPT of linear 0x0", 4096],
    [0x3000, "PD of linear 0x0", 4096],
  ]);
  assertEquals(entry(tables, 0x1000), 0x2003n);
  assertEquals(entry(tables, 0x1008), 0n);
  assertEquals(entry(tables, 0x2000), 0x3003n);
  assertEquals(entry(tables, 0x3000), 0x83n);
  assertEquals(entry(tables, 0x3008), 0x20_0083n);
  assertEquals(entry(tables, 0x3ff8), 0x3fe0_0083n);
});

Deno.test("the tables and their order depend on what is mapped, not on the order it is given in", () => {
  const low = { linear: 0, size: 2 * MIB, pageSize: "4K" } as const;
  const high = { linear: 2 * MIB, size: GIB - 2 * MIB, pageSize: "2M" } as const;
  assertEquals(build(low, high), build(high, low));
  assertEquals(build(high, low).writes.map(({ what }) => what), [
    "PML4",
    "PDPT of linear 0x0",
    "PD of linear 0x0",
    "PT of linear 0x0",
  ]);
});

Deno.test("permissions go into the last entry; those above carry user only where it is needed", () => {
  const tables = build(
    { linear: 0, size: 0x1000, writable: false },
    { linear: 0x1000, size: 0x1000, user: true },
    { linear: 0x2000, size: 0x1000, executable: false },
    { linear: GIB, size: 0x1000 },
  );
  assertEquals(entry(tables, 0x4000), 0x1n);
  assertEquals(entry(tables, 0x4008), 0x1007n);
  assertEquals(entry(tables, 0x4010), 0x8000_0000_0000_2003n);
  assertEquals(entry(tables, 0x1000), 0x2007n);
  assertEquals(entry(tables, 0x2000), 0x3007n);
  assertEquals(entry(tables, 0x2008), 0x5003n);
});

Deno.test("a 1 GiB page needs no page directory", () => {
  const tables = build({ linear: 0, size: GIB, pageSize: "1G" });
  assertEquals(tables.writes.length, 2);
  assertEquals(entry(tables, 0x2000), 0x83n);
});

Deno.test("auto takes 2 MiB pages where both addresses are aligned, and 4 KiB pages around them", () => {
  const tables = build({
    linear: 2 * MIB - 0x1000,
    physical: 6 * MIB - 0x1000,
    size: 2 * MIB + 0x2000,
  });
  const walk = (linear: number) =>
    walkPageTables({ cr3: tables.cr3, linear, read: memoryOf(tables.writes) }).result;
  const pages = [2 * MIB - 1, 2 * MIB, 4 * MIB].map((linear) => walk(linear));
  assertEquals(pages.map((page) => "pageSize" in page && page.pageSize), ["4K", "2M", "4K"]);
  const skewed = build({ linear: 0, physical: 0x1000, size: 2 * MIB });
  assertEquals(skewed.writes.length, 4);
});

Deno.test("the upper half is mapped by a bigint, up to the very last page", () => {
  const linear = 0xffff_ffff_ffff_f000n;
  const tables = build({ linear, physical: 0x5000, size: 0x1000 });
  const { result } = walkPageTables({
    cr3: tables.cr3,
    linear: linear + 0xabcn,
    read: memoryOf(tables.writes),
  });
  assert("physical" in result);
  assertEquals(result.physical, 0x5abc);
});

Deno.test("tables run on in the next area when the first is full", () => {
  const { writes, end } = buildPageTables({
    areas: [{ start: 0x1000, end: 0x3fff }, { start: 0x8000, end: 0xa000 }],
    mappings: [{ linear: 0, size: 0x1000 }],
  });
  assertEquals(writes.map(({ gpa }) => gpa), [0x1000, 0x2000, 0x8000, 0x9000]);
  assertEquals(end, 0xa000);
});

Deno.test("a hole is not mapped, needs no physical address, and keeps others out", () => {
  const hole = { linear: 0xffff_8000_0000_0000n, size: 0x1000, present: false };
  assertEquals(build(hole).writes.length, 1);
  refuses("overlaps", hole, { linear: 0xffff_8000_0000_0000n, physical: 0, size: 0x1000 });
});

Deno.test("with nothing to map there is an empty root", () => {
  assertEquals(build().writes.map(({ what }) => what), ["PML4"]);
});

Deno.test("misaligned addresses and sizes are refused", () => {
  refuses("the linear address 0x800 is not a multiple of 0x1000", {
    linear: 0x800,
    physical: 0,
    size: 0x1000,
  });
  refuses("the physical address 0x1000 is not a multiple of 0x200000", {
    linear: 0,
    physical: 0x1000,
    size: 2 * MIB,
    pageSize: "2M",
  });
  refuses("the size 0x1001 is not a multiple", { linear: 0, size: 0x1001 });
  refuses("the size 0x200000 is not a multiple of 0x40000000", {
    linear: 0,
    size: 2 * MIB,
    pageSize: "1G",
  });
  refuses("the size 0.5", { linear: 0, size: 0.5 });
  refuses("give one page or more", { linear: 0, size: 0 });
  refuses("the physical address NaN", { linear: 0, physical: NaN, size: 0x1000 });
});

Deno.test("addresses that do not exist are refused", () => {
  refuses("not canonical", { linear: 0x8000_0000_0000n, physical: 0, size: 0x1000 });
  refuses("not canonical", { linear: 0x7fff_ffff_f000n, physical: 0, size: 0x2000 });
  refuses("not canonical", { linear: 0xffff_ffff_ffff_f000n, physical: 0, size: 0x2000 });
  refuses("not canonical", { linear: -0x1000, physical: 0, size: 0x1000 });
  refuses("give a bigint", { linear: 2 ** 63, physical: 0, size: 0x1000 });
  refuses("52 bits", { linear: 0, physical: 2 ** 52 - 0x1000, size: 0x2000 });
  refuses("52 bits", { linear: 0, physical: -0x1000, size: 0x1000 });
});

Deno.test("the last page of the lower half and the last physical page can be mapped", () => {
  build({ linear: 0x7fff_ffff_f000n, physical: 2 ** 52 - 0x1000, size: 0x1000 });
});

Deno.test("a page size that does not exist is refused", () => {
  refuses('"4M"', { linear: 0, size: 4 * MIB, pageSize: "4M" as PageSizeName });
});

Deno.test("overlapping mappings are refused, and both are named", () => {
  refuses(
    "Cannot map linear 0x1000–0x1fff: it overlaps the mapping of linear 0x0–0x1fff",
    { linear: 0x1000, size: 0x1000 },
    { linear: 0, size: 0x2000 },
  );
});

Deno.test("tables that find no room are refused by name", () => {
  const areas = [{ start: 0x1000, end: 0x4000 }];
  const mappings = [{ linear: 0, size: 0x1000 }];
  assertThrows(
    () => buildPageTables({ areas, mappings }),
    RangeError,
    "Cannot place the PT of linear 0x0: all 3 tables",
  );
});

Deno.test("an area that is not aligned is refused, be it needed or not", () => {
  const areas = [...room, { start: 0x1234, end: 0x4000 }];
  assertThrows(() => buildPageTables({ areas, mappings: [] }), RangeError, "0x1234");
});

/** Mappings in slots of 4 GiB of linear space, so that no two overlap. */
const mappingsArbitrary: fc.Arbitrary<PageMapping[]> = fc.uniqueArray(
  fc.record({
    slot: fc.oneof(fc.nat({ max: 0x7fff }), fc.integer({ min: -0x8000, max: -1 })),
    pageSize: fc.constantFrom<PageSizeName>("4K", "2M", "1G"),
    pages: fc.integer({ min: 1, max: 3 }),
    physical: fc.nat({ max: 0xff }),
    auto: fc.boolean(),
    writable: fc.boolean(),
    user: fc.boolean(),
    executable: fc.boolean(),
  }),
  { selector: ({ slot }) => slot, minLength: 1, maxLength: 4 },
).map((slots) =>
  slots.map(({ slot, pageSize, pages, physical, auto, ...permissions }) => {
    const unit = PAGE_SIZE[pageSize];
    const linear = BigInt.asUintN(64, BigInt(slot) * BigInt(4 * GIB));
    return {
      linear,
      physical: physical * unit,
      size: pages * unit,
      pageSize: auto && pageSize !== "1G" ? "auto" : pageSize,
      ...permissions,
    };
  })
);

Deno.test("what was mapped is what a walk finds, and beside it there is nothing", () => {
  fc.assert(fc.property(mappingsArbitrary, fc.nat({ max: 2 ** 31 - 1 }), (mappings, random) => {
    const { cr3, writes } = build(...mappings);
    const walk = (linear: bigint) => walkPageTables({ cr3, linear, read: memoryOf(writes) }).result;
    for (const mapping of mappings) {
      const { linear, physical = 0, size, writable, user, executable } = mapping;
      for (const offset of [0, size - 1, random % size]) {
        const result = walk(BigInt(linear) + BigInt(offset));
        assert("physical" in result);
        const { pageSize, ...found } = result;
        assertEquals(found, { physical: physical + offset, writable, user, executable });
        if (mapping.pageSize !== "auto") assertEquals(pageSize, mapping.pageSize);
      }
      assert("fault" in walk(BigInt.asUintN(64, BigInt(linear) + BigInt(size))));
    }
  }));
});

Deno.test("userTables: the entries above a page let CPL 3 through, or do not, whatever the page says", () => {
  const USER = 4n;
  const levelsOf = (mapping: Pick<PageMapping, "user" | "userTables">) => {
    const tables = build({ linear: 0, size: 4096, pageSize: "4K", ...mapping });
    return [0x1000, 0x2000, 0x3000, 0x4000].map((gpa) => (entry(tables, gpa)! & USER) !== 0n);
  };
  assertEquals(levelsOf({}), [false, false, false, false]);
  assertEquals(levelsOf({ user: true }), [true, true, true, true]);
  assertEquals(levelsOf({ userTables: true }), [true, true, true, false]);
  assertEquals(levelsOf({ user: true, userTables: false }), [false, false, false, true]);
});
