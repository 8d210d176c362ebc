import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { MSRS } from "../../../lib/x86/msrs/msrs.ts";
import {
  IO_PERMISSION_MAP_SIZE,
  IoPermissionMap,
  MSR_PERMISSION_MAP_SIZE,
  MsrPermissionMap,
} from "../../../lib/x86/svm/permission_maps.ts";

/** Ports close to each other, so that ranges and questions meet. */
const port = fc.integer({ min: 0x7fe0, max: 0x8020 });

const portRanges = fc.array(
  fc.tuple(port, fc.nat(16)).map(([first, count]) => [first, first + count] as const),
);

/** The set bits of bytes, by number. */
function setBits(bytes: Uint8Array): number[] {
  return [...bytes].flatMap((byte, index) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte >> bit & 1).map((bit) => index * 8 + bit)
  );
}

Deno.test("an I/O permission map has 12 KiB, and a bit for each port at its number", () => {
  assertEquals([IO_PERMISSION_MAP_SIZE, new IoPermissionMap().bytes.length], [0x3000, 0x3000]);
  assertEquals(setBits(new IoPermissionMap().intercept(0).intercept(0x3f8).bytes), [0, 0x3f8]);
  assertEquals(setBits(new IoPermissionMap().intercept(0xffff).bytes), [0xffff]);
  assertEquals(setBits(new IoPermissionMap().intercept([0x7ffe, 0x8001]).bytes), [
    0x7ffe,
    0x7fff,
    0x8000,
    0x8001,
  ]);
});

Deno.test("pass all and intercept all hold for every port, and for what passes 0xffff", () => {
  const map = new IoPermissionMap().interceptAll();
  assert([0, 0x7fff, 0x8000, 0xffff].every((each) => map.intercepts(each)));
  assert(new IoPermissionMap().interceptAll().pass([0xfffd, 0xffff]).intercepts(0xfffd, 4));
  assertEquals(setBits(map.passAll().bytes), []);
});

Deno.test("a port is intercepted exactly when it was set, whatever ranges were", () => {
  fc.assert(
    fc.property(portRanges, portRanges, port, (set, passed, asked) => {
      const map = new IoPermissionMap();
      for (const range of set) map.intercept(range);
      for (const range of passed) map.pass(range);
      const holds = ([first, last]: readonly [number, number]) => asked >= first && asked <= last;
      assertEquals(map.intercepts(asked), set.some(holds) && !passed.some(holds));
    }),
    { numRuns: 50 },
  );
});

Deno.test("an access of several bytes is intercepted exactly when one of its ports is", () => {
  fc.assert(fc.property(port, port, fc.constantFrom(1, 2, 4), (set, asked, size) => {
    const map = new IoPermissionMap().intercept(set);
    assertEquals(map.intercepts(asked, size), set >= asked && set < asked + size);
  }));
});

Deno.test("ports that are none are refused", () => {
  const map = new IoPermissionMap();
  for (const call of [() => map.intercept(0x1_0000), () => map.intercept([0xfff0, 0x1_0000])]) {
    assertThrows(call, RangeError, "Cannot intercept port 0x10000: ports are 0 to 0xffff");
  }
  assertThrows(() => map.pass(-1), RangeError, "Cannot intercept port -0x1");
  assertThrows(() => map.intercepts(1.5), RangeError, "Cannot intercept port 1.5");
  assertThrows(
    () => map.intercept([0x80, 0x60]),
    RangeError,
    "Cannot intercept ports 0x80 to 0x60: the last lies before the first",
  );
});

Deno.test("a map over bytes is a view of them, and refuses another size", () => {
  const bytes = new Uint8Array(IO_PERMISSION_MAP_SIZE);
  new IoPermissionMap(bytes).intercept(8);
  assertEquals(bytes[1], 1);
  assertThrows(
    () => new IoPermissionMap(new Uint8Array(8192)),
    RangeError,
    "Cannot use 8192 bytes as an I/O permission map: it has 12288 bytes",
  );
  assertThrows(() => new MsrPermissionMap(new Uint8Array(1)), RangeError, "it has 8192 bytes");
});

Deno.test("an MSR permission map has two bits for each MSR of three ranges", () => {
  assertEquals(MSR_PERMISSION_MAP_SIZE, 0x2000);
  for (
    const [msr, bit] of [
      [0, 0],
      [0x1fff, 0x3ffe],
      [0xc000_0000, 0x800 * 8],
      [0xc000_0080, 0x800 * 8 + 0x100],
      [0xc000_1fff, 0x1000 * 8 - 2],
      [0xc001_0000, 0x1000 * 8],
      [0xc001_1fff, 0x1800 * 8 - 2],
    ]
  ) {
    assertEquals(setBits(new MsrPermissionMap().intercept(msr, "read").bytes), [bit]);
    assertEquals(setBits(new MsrPermissionMap().intercept(msr, "write").bytes), [bit + 1]);
    assertEquals(setBits(new MsrPermissionMap().intercept(msr).bytes), [bit, bit + 1]);
  }
  assertEquals(
    new MsrPermissionMap().intercept("EFER").bytes,
    new MsrPermissionMap().intercept(MSRS.EFER).bytes,
  );
});

/** MSRs few enough for two to be the same, at the ends of each range. */
const mappedMsr = fc.tuple(
  fc.constantFrom(0, 0xc000_0000, 0xc001_0000),
  fc.constantFrom(0, 1, 4, 0x1ffb, 0x1fff),
).map(([base, index]) => base + index);

Deno.test("an MSR is intercepted exactly for the accesses that were set", () => {
  const access = fc.constantFrom("read", "write", "read-write");
  fc.assert(fc.property(mappedMsr, mappedMsr, access, access, (set, asked, how, passed) => {
    const map = new MsrPermissionMap().intercept(set, how).pass(set, passed);
    for (const each of ["read", "write"] as const) {
      const isSet = how.includes(each) && !passed.includes(each);
      assertEquals(map.intercepts(asked, each), asked === set && isSet);
    }
  }));
  const all = new MsrPermissionMap().interceptAll();
  assert(all.intercepts("LSTAR", "read") && all.intercepts("LSTAR", "write"));
  assert(!all.passAll().intercepts("LSTAR", "read-write"));
});

Deno.test("MSRs outside the ranges, or in two of them, are refused, and so are unknown names", () => {
  const map = new MsrPermissionMap();
  for (const msr of [0x2000, 0xbfff_ffff, 0xc000_2000, 0xc001_2000, 0x4b56_4d00]) {
    for (const call of [() => map.intercept(msr), () => map.intercepts(msr, "read")]) {
      assertThrows(
        call,
        RangeError,
        "the MSR permission map has bits for 0x0 to 0x1fff, 0xc0000000",
      );
    }
  }
  assertThrows(
    () => map.intercept([0x1fff, 0xc000_0000]),
    RangeError,
    "Cannot intercept MSRs 0x1fff",
  );
  assertThrows(() => map.intercept([5, 4]), RangeError, "Cannot intercept MSRs 0x5");
  assertThrows(() => map.intercept("LSTARR" as never), RangeError, "the nearest are LSTAR");
});
