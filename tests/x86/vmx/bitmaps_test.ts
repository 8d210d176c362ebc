import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  VMX_IO_BITMAP_SIZE,
  VMX_MSR_BITMAP_SIZE,
  VmxIoBitmaps,
  VmxMsrBitmap,
} from "../../../lib/x86/vmx/bitmaps.ts";

/** Ports close to each other and to the end of bitmap A, so that ranges and questions meet. */
const port = fc.integer({ min: 0x7fe0, max: 0x8020 });
const portRange = fc.tuple(port, fc.nat(16)).map(([first, count]) =>
  [first, first + count] as const
);

/** The bytes that are not 0: offset and value. */
function nonZero(bytes: Uint8Array): [number, number][] {
  return [...bytes].flatMap((byte, at): [number, number][] => byte === 0 ? [] : [[at, byte]]);
}

Deno.test("the I/O bitmaps have a page each, A for ports to 0x7fff and B for those above", () => {
  const bitmaps = new VmxIoBitmaps();
  assertEquals([bitmaps.a.length, bitmaps.b.length, VMX_IO_BITMAP_SIZE], [4096, 4096, 4096]);
  for (
    const [ports, a, b] of [
      [0, [[0, 1]], []],
      [0x3f8, [[0x7f, 1]], []],
      [0x7fff, [[0xfff, 0x80]], []],
      [0x8000, [], [[0, 1]]],
      [0xffff, [], [[0xfff, 0x80]]],
      [[0x7ffe, 0x8001], [[0xfff, 0xc0]], [[0, 3]]],
      [[0x60, 0x6f], [[0xc, 0xff], [0xd, 0xff]], []],
    ] as const
  ) {
    const set = new VmxIoBitmaps().intercept(ports);
    assertEquals<unknown>([nonZero(set.a), nonZero(set.b)], [a, b]);
    const hole = new VmxIoBitmaps().interceptAll().pass(ports);
    assert(hole.a.every((byte, at) => byte === (~set.a[at] & 0xff)));
    assert(hole.b.every((byte, at) => byte === (~set.b[at] & 0xff)));
  }
});

Deno.test("pass all and intercept all hold for every port", () => {
  const bitmaps = new VmxIoBitmaps().interceptAll();
  assert([0, 0x7fff, 0x8000, 0xffff].every((each) => bitmaps.intercepts(each)));
  bitmaps.passAll();
  assert(![0, 0x7fff, 0x8000, 0xffff].some((each) => bitmaps.intercepts(each)));
});

Deno.test("a port is intercepted exactly when it was set, whatever ranges were", () => {
  fc.assert(fc.property(fc.array(portRange), fc.array(portRange), port, (set, passed, asked) => {
    const bitmaps = new VmxIoBitmaps();
    for (const range of set) bitmaps.intercept(range);
    for (const range of passed) bitmaps.pass(range);
    const holds = ([first, last]: readonly [number, number]) => asked >= first && asked <= last;
    assertEquals(bitmaps.intercepts(asked), set.some(holds) && !passed.some(holds));
  }));
});

Deno.test("an access of several bytes is intercepted exactly when one of its ports is, or it wraps", () => {
  fc.assert(fc.property(port, port, fc.constantFrom(1, 2, 4), (set, asked, size) => {
    const bitmaps = new VmxIoBitmaps().intercept(set);
    assertEquals(bitmaps.intercepts(asked, size), set >= asked && set < asked + size);
  }));
  assertEquals(new VmxIoBitmaps().intercepts(0xffff), false);
  assertEquals(new VmxIoBitmaps().intercepts(0xffff, 2), true);
  assertEquals(new VmxIoBitmaps().intercepts(0xfffc, 4), false);
});

Deno.test("ports past 0xffff, and bitmaps of another size, are refused", () => {
  const bitmaps = new VmxIoBitmaps();
  for (
    const call of [
      () => bitmaps.intercept(0x1_0000),
      () => bitmaps.pass([0x8000, 0x1_0000]),
      () => bitmaps.intercepts(0x1_0000),
    ]
  ) {
    assertThrows(call, RangeError, "Cannot intercept port 0x10000: ports are 0 to 0xffff");
  }
  assertThrows(() => bitmaps.intercept([2, 1]), RangeError, "the last lies before the first");
  assertThrows(
    () => new VmxIoBitmaps(undefined, new Uint8Array(8192)),
    RangeError,
    "Cannot use 8192 bytes as I/O bitmap B: it has 4096 bytes",
  );
});

Deno.test("the MSR bitmap is four: reads of low and of high MSRs, writes of low and of high ones", () => {
  assertEquals(VMX_MSR_BITMAP_SIZE, 4096);
  for (
    const [msr, read, write] of [
      [0, [0, 1], [0x800, 1]],
      [0x1b, [3, 8], [0x803, 8]],
      [0x1fff, [0x3ff, 0x80], [0xbff, 0x80]],
      [0xc000_0000, [0x400, 1], [0xc00, 1]],
      [0xc000_0080, [0x410, 1], [0xc10, 1]],
      [0xc000_1fff, [0x7ff, 0x80], [0xfff, 0x80]],
    ] as const
  ) {
    assertEquals<unknown>(nonZero(new VmxMsrBitmap().intercept(msr, "read").bytes), [read]);
    assertEquals<unknown>(nonZero(new VmxMsrBitmap().intercept(msr, "write").bytes), [write]);
    assertEquals<unknown>(nonZero(new VmxMsrBitmap().intercept(msr).bytes), [read, write]);
  }
  assertEquals(
    new VmxMsrBitmap().intercept("IA32_APIC_BASE").bytes,
    new VmxMsrBitmap().intercept(0x1b).bytes,
  );
});

/** MSRs few enough for two to be the same, at the ends of each range. */
const mappedMsr = fc.tuple(fc.constantFrom(0, 0xc000_0000), fc.constantFrom(0, 7, 8, 0x1fff))
  .map(([base, index]) => base + index);

Deno.test("an MSR is intercepted exactly for the accesses that were set", () => {
  const access = fc.constantFrom("read", "write", "read-write");
  fc.assert(fc.property(mappedMsr, mappedMsr, access, access, (set, asked, how, passed) => {
    const bitmap = new VmxMsrBitmap().intercept(set, how).pass(set, passed);
    for (const each of ["read", "write"] as const) {
      const isSet = how.includes(each) && !passed.includes(each);
      assertEquals(bitmap.intercepts(asked, each), asked === set && isSet);
    }
  }));
  const all = new VmxMsrBitmap().interceptAll();
  assert(all.intercepts("LSTAR", "read") && all.intercepts("LSTAR", "write"));
  assert(!all.passAll().intercepts("LSTAR", "read-write"));
});

Deno.test("MSRs outside the two ranges are refused", () => {
  const bitmap = new VmxMsrBitmap();
  for (const msr of [0x2000, 0xbfff_ffff, 0xc000_2000, 0xc001_0000, 0xffff_ffff]) {
    for (const call of [() => bitmap.intercept(msr), () => bitmap.intercepts(msr, "write")]) {
      assertThrows(
        call,
        RangeError,
        "the MSR bitmap has bits for 0x0 to 0x1fff, 0xc0000000 to 0xc0001fff",
      );
    }
  }
  assertThrows(() => bitmap.intercept([0x1ff0, 0x2000]), RangeError, "give MSRs of one range");
  assertThrows(() => new VmxMsrBitmap(new Uint8Array(8192)), RangeError, "it has 4096 bytes");
});
