import { assert, assertEquals, assertThrows } from "@std/assert";
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

Deno.test("a walk tells a violation from a misconfiguration, and at which level", () => {
  const tables = build({ gpa: 0, size: 0x1000 }, { gpa: 0x20_0000, size: 0x20_0000 });
  assertEquals(walk(tables, 0x1000), { fault: "EPT violation", level: "PTE" });
  assertEquals(walk(tables, 2 ** 39), { fault: "EPT violation", level: "PML4E" });
  assertEquals(walk(tables, 2 ** 48), { fault: "EPT violation", level: "PML4E" });

  const read = memoryOf(tables.writes);
  const withLast = (entry: bigint, options = {}) =>
    walkEpt({
      pointer: tables.pointer,
      gpa: 0,
      read: (gpa) => gpa === 0x1_3000 ? entry : read(gpa),
      ...options,
    }).result;
  const misconfigured = { fault: "EPT misconfiguration", level: "PTE" };
  assertEquals<unknown>(withLast(0x2n), misconfigured); // write-only
  assertEquals<unknown>(withLast(0x6n), misconfigured); // write and execute
  assertEquals<unknown>(withLast(0x4n, { executeOnly: false }), misconfigured);
  assert("hpa" in withLast(0x4n));
  assertEquals<unknown>(withLast(0x17n), misconfigured); // memory type 2
  assertEquals<unknown>(withLast(0x1_0000_0000_0037n, { physicalAddressBits: 46 }), misconfigured);
  assertEquals(
    walkEpt({ pointer: tables.pointer, gpa: 0, read: () => undefined }).result,
    { fault: "outside-memory", level: "PML4E" },
  );
  const reserved = walkEpt({
    pointer: tables.pointer,
    gpa: 0,
    read: (gpa) => read(gpa)! | (gpa === 0x1_0000 ? 0x80n : 0n),
  });
  assertEquals<unknown>(reserved.result, { fault: "EPT misconfiguration", level: "PML4E" });
  const misplaced = walkEpt({
    pointer: tables.pointer,
    gpa: 0x20_0000,
    read: (gpa) => read(gpa)! | (gpa === 0x1_2008 ? 0x1000n : 0n),
  });
  assertEquals<unknown>(misplaced.result, { fault: "EPT misconfiguration", level: "PDE" });
  assertThrows(
    () => walkEpt({ pointer: 0x6n, gpa: 0, read }),
    RangeError,
    "Cannot walk EPT from the pointer 0x6: its walk length is reserved",
  );
});

Deno.test("every entry on the way takes permissions away", () => {
  const tables = build({ gpa: 0, size: 0x1000 });
  const read = memoryOf(tables.writes);
  const { result } = walkEpt({
    pointer: tables.pointer,
    gpa: 0,
    read: (gpa) => read(gpa)! & (gpa === 0x1_1000 ? ~2n : gpa === 0x1_2000 ? ~4n : ~0n),
  });
  assert("hpa" in result);
  assertEquals([result.readable, result.writable, result.executable], [true, false, false]);
});
