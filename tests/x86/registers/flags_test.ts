import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  apicBaseFlags,
  cr0Flags,
  cr3Flags,
  cr3PcidFlags,
  cr4Flags,
  eferFlags,
  pageEntryFlags,
  rflagsFlags,
} from "../../../lib/x86/registers/flag_tables.ts";
import {
  flagMask,
  flagNames,
  flagsToValue,
  type FlagTable,
  getFlag,
  setFlag,
} from "../../../lib/x86/registers/flags.ts";

const tables: Record<string, FlagTable> = {
  cr0Flags,
  cr3Flags,
  cr3PcidFlags,
  cr4Flags,
  eferFlags,
  rflagsFlags,
  apicBaseFlags,
  pageEntryFlags,
};

Deno.test("well-known register values come out of flags by name", () => {
  assertEquals(flagsToValue(cr0Flags, { cd: true, nw: true, et: true }), 0x6000_0010n);
  assertEquals(flagsToValue(cr0Flags, { pe: true, pg: true }), 0x8000_0001n);
  assertEquals(flagsToValue(cr4Flags, { pae: true, osfxsr: true, osxmmexcpt: true }), 0x620n);
  assertEquals(flagsToValue(eferFlags, { lme: true, lma: true }), 0x500n);
  assertEquals(flagsToValue(rflagsFlags, { zf: true, pf: true, iopl: 3 }), 0x3044n);
  assertEquals(flagsToValue(cr3PcidFlags, { pcid: 0xabc }), 0xabcn);
  assertEquals(flagsToValue(pageEntryFlags, { p: true, xd: true }), 0x8000_0000_0000_0001n);
});

Deno.test("a flag given as false or undefined stays clear", () => {
  assertEquals(flagsToValue(cr0Flags, { pe: false, pg: undefined }), 0n);
});

Deno.test("flagNames lists what is set, lowest bit first, fields with their number", () => {
  assertEquals(flagNames(cr0Flags, 0x8001_0031n), ["PE", "ET", "NE", "WP", "PG"]);
  assertEquals(flagNames(rflagsFlags, 0x2202n), ["IF", "IOPL=2"]);
  assertEquals(flagNames(rflagsFlags, 0x2n), []);
});

for (const [name, table] of Object.entries(tables)) {
  const flags = Object.entries(table);

  Deno.test(`${name}: fields do not overlap, and stand in the order of their bits`, () => {
    let next = 0;
    for (const [flag, { bit, width }] of flags) {
      assertEquals([flag, bit >= next], [flag, true]);
      next = bit + width;
    }
  });

  Deno.test(`${name}: what is set is what is read, and no other bit changes`, () => {
    fc.assert(fc.property(
      fc.bigInt(0n, 2n ** 64n - 1n),
      fc.constantFrom(...flags),
      fc.nat(),
      (value, [flag, { bit, width }], random) => {
        const field = random % 2 ** width;
        const changed = setFlag(table, flag, value, field);
        assertEquals(getFlag(table, flag, changed), width === 1 ? field === 1 : field);
        const mask = (2n ** BigInt(width) - 1n) << BigInt(bit);
        assertEquals(changed & ~mask, value & ~mask);
      },
    ));
  });

  Deno.test(`${name}: a value is the sum of its flags`, () => {
    fc.assert(fc.property(fc.bigInt(0n, 2n ** 64n - 1n), (random) => {
      const value = random & flagMask(table);
      const read = Object.fromEntries(flags.map(([flag]) => [flag, getFlag(table, flag, value)]));
      assertEquals(flagsToValue(table, read), value);
      assertEquals(flagNames(table, value).length, Object.values(read).filter(Boolean).length);
    }));
  });
}

Deno.test("an unknown flag is refused with the nearest names", () => {
  const bad = { paee: true } as Record<string, boolean>;
  assertThrows(() => flagsToValue(cr4Flags, bad), RangeError, '"paee"');
  assertThrows(() => getFlag(cr4Flags, "paee", 0n), RangeError, "pae");
  assertThrows(() => setFlag(cr4Flags, "toString", 0n, true), RangeError, "toString");
});

Deno.test("a value that is too wide for its field is refused", () => {
  assertThrows(() => setFlag(rflagsFlags, "iopl", 0n, 4), RangeError, "give a number from 0 to 3");
  assertThrows(() => setFlag(rflagsFlags, "zf", 0n, 2), RangeError, "it has 1 bit;");
  assertThrows(() => setFlag(rflagsFlags, "zf", 0n, 0.5), RangeError, "0.5");
  assertThrows(() => setFlag(rflagsFlags, "zf", 0n, -1), RangeError, "-1");
});

Deno.test("a boolean for a field of several bits is refused", () => {
  assertThrows(
    () => setFlag(rflagsFlags, "iopl", 0n, true),
    TypeError,
    "give a number from 0 to 3",
  );
});
