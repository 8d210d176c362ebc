import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { PAGE_SIZE } from "../../../lib/x86/paging/page_levels.ts";
import {
  buildEptTables,
  type EptMapping,
  type EptTables,
} from "../../../lib/x86/vmx/ept_tables.ts";
import { type EptWalk, walkEpt } from "../../../lib/x86/vmx/ept_walk.ts";
import { memoryOf } from "../memory_of.ts";

const AREA = { start: 0x1_0000, end: 0x10_0000 };

function build(...mappings: EptMapping[]): EptTables {
  return buildEptTables({ areas: [AREA], mappings });
}

function walk({ pointer, writes }: EptTables, gpa: number): EptWalk["result"] {
  return walkEpt({ pointer, gpa, read: memoryOf(writes) }).result;
}

Deno.test("EPT's entries have the manual's bits at every page size", () => {
  for (
    const [mapping, entries] of [
      [{ size: 0x1000 }, [0x1_1007n, 0x1_2007n, 0x1_3007n, 0x4000_0037n]],
      [{ size: 0x20_0000 }, [0x1_1007n, 0x1_2007n, 0x4000_00b7n]],
      [{ size: 2 ** 30, pageSize: "1G" }, [0x1_1007n, 0x4000_00b7n]],
      [
        { size: 0x1000, writable: false, executable: false, memoryType: "UC", ignorePat: true },
        [0x1_1007n, 0x1_2007n, 0x1_3007n, 0x4000_0041n],
      ],
      [
        { size: 0x1000, readable: false, writable: false, memoryType: "WP" },
        [0x1_1007n, 0x1_2007n, 0x1_3007n, 0x4000_002cn],
      ],
    ] as const
  ) {
    const tables = build({ gpa: 0, hpa: 0x4000_0000, ...mapping });
    const { levels } = walkEpt({ ...tables, gpa: 0, read: memoryOf(tables.writes) });
    assertEquals(levels.map(({ entry }) => entry), [...entries]);
  }
});

Deno.test("tables are placed from the area's start, root first, and say what they are", () => {
  const { root, pointer, writes, end } = build({ gpa: 0x8000_0000, hpa: 0, size: 0x1000 });
  assertEquals([root, pointer, end], [0x1_0000, 0x1_001en, 0x1_4000]);
  assertEquals(writes.map(({ gpa, what }) => [gpa, what]), [
    [0x1_0000, "EPT PML4"],
    [0x1_1000, "EPT PDPT of guest-physical 0x80000000"],
    [0x1_2000, "EPT PD of guest-physical 0x80000000"],
    [0x1_3000, "EPT PT of guest-physical 0x80000000"],
  ]);
});

const sizes = fc.constantFrom("4K", "2M", "1G");

const mappings = fc.tuple(sizes, fc.nat(100), fc.nat(100), fc.integer({ min: 1, max: 3 }))
  .chain(([pageSize, gpa, hpa, count]) =>
    fc.record({
      gpa: fc.constant(gpa * PAGE_SIZE[pageSize]),
      hpa: fc.constant(hpa * PAGE_SIZE[pageSize]),
      size: fc.constant(count * PAGE_SIZE[pageSize]),
      pageSize: fc.constant(pageSize),
      readable: fc.constant(true),
      writable: fc.boolean(),
      executable: fc.boolean(),
      memoryType: fc.constantFrom("UC", "WC", "WT", "WP", "WB"),
      ignorePat: fc.boolean(),
    })
  );

Deno.test("walking what was built gives every address back, with its page and permissions", () => {
  fc.assert(fc.property(mappings, fc.nat(), fc.constantFrom(4, 5), (mapping, at, walkLength) => {
    const tables = buildEptTables({ areas: [AREA], mappings: [mapping], walkLength });
    const { gpa, hpa, size, ...rest } = mapping;
    const offset = at % size;
    assertEquals(walk(tables, gpa + offset), { hpa: hpa + offset, ...rest });
    assert("fault" in walk(tables, gpa + size));
    if (gpa > 0) assert("fault" in walk(tables, gpa - 1));
  }));
});

Deno.test("automatic pages are of 2 MiB where both addresses allow it, and of 4 KiB elsewhere", () => {
  const tables = build(
    { gpa: 0x1f_f000, hpa: 0x3f_f000, size: 0x40_1000 },
    { gpa: 0x100_0000, hpa: 0x1000, size: 0x20_0000 },
  );
  const pageOf = (gpa: number) => {
    const result = walk(tables, gpa);
    return "pageSize" in result ? result.pageSize : undefined;
  };
  assertEquals([0x1f_f000, 0x20_0000, 0x40_0000, 0x100_0000].map(pageOf), ["4K", "2M", "2M", "4K"]);
});

Deno.test("mappings that cannot be are refused, each with its reason", () => {
  for (
    const [mapping, message] of [
      [{ gpa: 0x1001 }, "`gpa` is 0x1001; give a multiple of 0x1000"],
      [{ gpa: 0, hpa: 0x10 }, "`hpa` is 0x10"],
      [{ gpa: 0, size: 0x1800 }, "`size` is 0x1800"],
      [{ gpa: 0, size: 0 }, "Cannot map 0 bytes"],
      [{ gpa: 0x1000, pageSize: "2M", size: 0x20_0000 }, "give a multiple of 0x200000"],
      [{ gpa: 0, pageSize: "4M" as never }, 'pages of "4M": EPT has "4K", "2M", "1G"'],
      [{ gpa: 0, readable: false }, "as writable and not readable"],
      [
        { gpa: 0, readable: false, writable: false, executable: false },
        "without a permission",
      ],
      [{ gpa: 2 ** 48 }, "guest-physical addresses have 48 bits"],
      [{ gpa: 0, memoryType: "XX" as never }, 'the memory type "XX"'],
    ] as [Partial<EptMapping> & { gpa: number }, string][]
  ) {
    assertThrows(() => build({ size: 0x1000, ...mapping }), RangeError, message);
  }
});

Deno.test("a mapping past the physical-address width is refused, and one up to it is not", () => {
  const at = (hpa: number, physicalAddressBits?: number) =>
    buildEptTables({
      areas: [AREA],
      mappings: [{ gpa: 0, hpa, size: 0x2000 }],
      physicalAddressBits,
    });
  at(2 ** 39 - 0x2000, 39);
  assertThrows(
    () => at(2 ** 39 - 0x1000, 39),
    RangeError,
    "Cannot map guest-physical 0x0 to 0x7ffffff000: physical addresses have 39 bits",
  );
  assertThrows(() => at(2 ** 52), RangeError, "physical addresses have 52 bits");
});

Deno.test("overlaps, misaligned areas and areas that are too small are refused", () => {
  for (
    const second of [
      { gpa: 0x20_0000, size: 0x1000 },
      { gpa: 0x20_0000, size: 0x20_0000, pageSize: "2M" },
      { gpa: 0, size: 2 ** 30, pageSize: "1G" },
    ] as const
  ) {
    assertThrows(
      () => build({ gpa: 0x20_0000, size: 0x20_0000 }, second),
      RangeError,
      "another mapping has it",
    );
  }
  const mappings = [{ gpa: 0, size: 0x1000 }];
  assertThrows(
    () => buildEptTables({ areas: [{ start: 0x1_0000, end: 0x1_3000 }], mappings }),
    RangeError,
    "Cannot place the EPT PT of guest-physical 0x0: all 3 tables",
  );
  assertThrows(
    () => buildEptTables({ areas: [{ start: 0x1_0800, end: 0x10_0000 }], mappings }),
    RangeError,
    "Cannot place the EPT tables at 0x10800",
  );
});
