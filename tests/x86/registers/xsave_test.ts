import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  fpuRegisters,
  mmxPlaces,
  opmaskRegisters,
  simdRegisters,
  x87StackRegisters,
  XsaveArea,
  type XsaveLayout,
  xsaveLayout,
} from "../../../lib/x86/registers/xsave.ts";
import { type Xcr0Flag, xcr0Flags } from "../../../lib/x86/registers/flag_tables.ts";

/** CPUID leaf 0xD of a CPU with AVX-512 and protection keys. */
const SUBLEAVES = [
  { index: 0, eax: 0x2e7, ebx: 2696, edx: 0 },
  { index: 1, eax: 0xf, ebx: 2440, edx: 0 },
  { index: 2, eax: 256, ebx: 576, edx: 0 },
  { index: 5, eax: 64, ebx: 1088, edx: 0 },
  { index: 6, eax: 512, ebx: 1152, edx: 0 },
  { index: 7, eax: 1024, ebx: 1664, edx: 0 },
  { index: 9, eax: 8, ebx: 2688, edx: 0 },
];
const LAYOUT = xsaveLayout(SUBLEAVES);
const NO_XSAVE: XsaveLayout = xsaveLayout([]);
const SIZE = 4096;
const XSTATE_BV = 512;
const XCOMP_BV = 520;

const registers = new Map([
  ...simdRegisters,
  ...opmaskRegisters,
  ...x87StackRegisters,
  ...Object.entries(fpuRegisters),
]);

function area(bits: bigint, fill = 0): { area: XsaveArea; bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(SIZE).fill(fill);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(XSTATE_BV, bits, true);
  view.setBigUint64(XCOMP_BV, 0n, true);
  return { area: new XsaveArea(bytes, LAYOUT), bytes, view };
}

/** What a register holds when nothing has used it. */
function initial(name: string): number[] {
  const zeros = new Array<number>(registers.get(name)!.width / 8).fill(0);
  if (name === "fcw") zeros.splice(0, 2, 0x7f, 0x03);
  if (name === "mxcsr") zeros.splice(0, 2, 0x80, 0x1f);
  return zeros;
}

Deno.test("XSAVE: the layout is what CPUID leaf 0xD tells", () => {
  assertEquals(LAYOUT.supported, 0x2e7n);
  assertEquals([...LAYOUT.components.keys()], ["avx", "opmask", "zmm_hi256", "hi16_zmm", "pkru"]);
  assertEquals(LAYOUT.components.get("pkru"), { offset: 2688, size: 8 });
  assertEquals([NO_XSAVE.supported, NO_XSAVE.components.size], [0n, 0] as unknown[]);
  const upper = xsaveLayout([{ index: 0, eax: 3, ebx: 576, edx: 0x4000_0000 }]);
  assertEquals(upper.supported, 0x4000_0000_0000_0003n);
});

Deno.test("XSAVE: registers lie where the manual's tables have them", () => {
  const { area: xsave, bytes, view } = area(0x2e7n);
  const at = (name: string, offset: number, size: number) => {
    bytes.fill(0, 0, XSTATE_BV).fill(0, 576);
    for (let index = 0; index < size; index++) bytes[offset + index] = index + 1;
    const expected = Array.from({ length: size }, (_, index) => index + 1);
    assertEquals([...xsave.read(registers.get(name)!.places)].slice(-size), expected, name);
  };
  at("fcw", 0, 2);
  at("fsw", 2, 2);
  at("ftw", 4, 1);
  at("fop", 6, 2);
  at("fip", 8, 8);
  at("fdp", 16, 8);
  at("mxcsr", 24, 4);
  at("st0", 32, 10);
  at("st7", 144, 10);
  at("xmm0", 160, 16);
  at("xmm15", 400, 16);
  at("ymm0", 576, 16);
  at("ymm15", 816, 16);
  at("k1", 1096, 8);
  at("zmm2", 1216, 32);
  at("zmm16", 1664, 64);
  at("xmm17", 1728, 16);
  at("zmm31", 2624, 64);
  at("pkru", 2688, 4);
  assertEquals(view.getBigUint64(XSTATE_BV, true), 0x2e7n);
});

Deno.test("XSAVE: what is written is read again, and all else is as it was or initial", () => {
  const names = [...registers.keys()];
  const write = fc.record({
    name: fc.constantFrom(...names),
    bytes: fc.uint8Array({ minLength: 64, maxLength: 64 }),
  });
  const isFree = (name: string, others: ReadonlySet<string>) => {
    const number = /^[xyz]mm(\d+)$/.exec(name)?.[1];
    const names = number === undefined
      ? [name]
      : ["xmm", "ymm", "zmm"].map((kind) => kind + number);
    return !names.some((each) => others.has(each));
  };
  fc.assert(
    fc.property(fc.array(write, { maxLength: 8 }), fc.nat(255), (writes, fill) => {
      const { area: xsave } = area(0n, fill);
      const written = new Set<string>();
      for (const { name, bytes } of writes) {
        const { places, width } = registers.get(name)!;
        const value = bytes.subarray(0, width / 8);
        xsave.write(places, value);
        written.add(name);
        assertEquals(xsave.read(places), value);
      }
      for (const name of names) {
        if (isFree(name, written)) {
          assertEquals([...xsave.read(registers.get(name)!.places)], initial(name), name);
        }
      }
    }),
    { numRuns: 30 },
  );
});

Deno.test("XSAVE: writing sets the component's bit, and no other's", () => {
  const cases: [string, bigint][] = [
    ["fcw", 1n],
    ["st3", 1n],
    ["xmm1", 2n],
    ["mxcsr", 2n],
    ["ymm1", 6n],
    ["k7", 0x20n],
    ["zmm1", 0x46n],
    ["zmm20", 0x80n],
    ["pkru", 0x200n],
  ];
  for (const [name, bits] of cases) {
    const { area: xsave, view } = area(0n);
    const { places, width } = registers.get(name)!;
    xsave.write(places, new Uint8Array(width / 8));
    assertEquals(view.getBigUint64(XSTATE_BV, true), bits, name);
  }
});

Deno.test("XSAVE: MXCSR counts as soon as SSE or AVX is in use", () => {
  const mxcsr = fpuRegisters.mxcsr.places;
  assertEquals([...area(0n, 0xff).area.read(mxcsr)], initial("mxcsr"));
  assertEquals([...area(1n, 0xff).area.read(mxcsr)], initial("mxcsr"));
  assertEquals([...area(2n, 0xff).area.read(mxcsr)], [255, 255, 255, 255]);
  assertEquals([...area(4n, 0xff).area.read(mxcsr)], [255, 255, 255, 255]);
  assertEquals(area(0n).area.mxcsrMask, 0xffbf);
  assertEquals(area(0n, 0xff).area.mxcsrMask, 0xffff_ffff);
});

Deno.test("XSAVE: MMX counts registers as they are, x87 from the top of the stack", () => {
  assertEquals(mmxPlaces(0, 0), x87StackRegisters.get("st0")!.places);
  assertEquals(mmxPlaces(7, 6), x87StackRegisters.get("st1")!.places);
  assertEquals(mmxPlaces(0, 6), x87StackRegisters.get("st2")!.places);
});

Deno.test("XSAVE: an area of the wrong size or format, and a component that is not there, are refused", () => {
  assertThrows(() => new XsaveArea(new Uint8Array(575), LAYOUT), RangeError, "have 576");
  const compacted = new Uint8Array(SIZE);
  compacted[XCOMP_BV + 7] = 0x80;
  assertThrows(() => new XsaveArea(compacted, LAYOUT), RangeError, "compacted");
  const legacy = new XsaveArea(new Uint8Array(576), NO_XSAVE);
  const ymm0 = simdRegisters.get("ymm0")!.places;
  assertThrows(() => legacy.read(ymm0), RangeError, "Cannot find avx in the XSAVE area");
  assertThrows(() => legacy.write(ymm0, new Uint8Array(32)), RangeError, "Cannot find avx");
  const short = new XsaveArea(new Uint8Array(800), LAYOUT);
  assertThrows(() => short.read(simdRegisters.get("ymm15")!.places), RangeError, "the area 800");
  const beyond = { component: "avx", offset: 250, size: 16 } as const;
  assertThrows(() => area(0n).area.read([beyond]), RangeError, "bytes 250 to 265 of avx");
  assertThrows(
    () => legacy.write(fpuRegisters.fcw.places, new Uint8Array(3)),
    RangeError,
    "3 bytes",
  );
});

Deno.test("XSAVE: every register's component has a bit in XCR0", () => {
  for (const [name, { places, width }] of registers) {
    assertEquals(places.reduce((sum, { size }) => sum + size * 8, 0), width, name);
    assert(places.every(({ component }) => xcr0Flags[component as Xcr0Flag] !== undefined), name);
  }
});
