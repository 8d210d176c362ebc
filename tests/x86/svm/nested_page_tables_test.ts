import { assert, assertEquals, assertThrows } from "@std/assert";
import { walkPageTables } from "../../../lib/x86/paging/page_walk.ts";
import { buildNestedPageTables } from "../../../lib/x86/svm/nested_page_tables.ts";
import { memoryOf } from "../memory_of.ts";

Deno.test("nested page tables are long-mode tables whose pages are user's, at every size", () => {
  for (const pageSize of ["4K", "2M", "1G"] as const) {
    const size = pageSize === "4K" ? 2 ** 21 : 2 ** 30;
    const { cr3, writes } = buildNestedPageTables({
      areas: [{ start: 0x1000, end: 0x10_0000 }],
      mappings: [{ gpa: 0, hpa: 2 * size, size, pageSize, writable: false }],
    });
    const { result, levels } = walkPageTables({
      cr3,
      linear: size / 2 + 0x678,
      read: memoryOf(writes),
    });
    assertEquals(result, {
      physical: 2 * size + size / 2 + 0x678,
      pageSize,
      writable: false,
      user: true,
      executable: true,
    });
    assert(levels.every(({ user }) => user));
  }
  assertThrows(
    () =>
      buildNestedPageTables({
        areas: [{ start: 0x1000, end: 0x9000 }],
        mappings: [{ gpa: 0x1000, hpa: 2 ** 40 - 0x1000, size: 0x2000 }],
        physicalAddressBits: 40,
      }),
    RangeError,
    "Cannot map guest-physical 0x1000 to 0xfffffff000: physical addresses have 40 bits",
  );
});
