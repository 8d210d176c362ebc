import { type Xcr0Flag, xcr0Flags } from "./flag_tables.ts";

/** Bytes of the legacy region, in the layout of FXSAVE (Intel SDM Vol. 1, 13.4.1). */
const LEGACY_REGION_SIZE = 512;
/** Where the header has XSTATE_BV and XCOMP_BV (Intel SDM Vol. 1, 13.4.2). */
const XSTATE_BV = LEGACY_REGION_SIZE;
const XCOMP_BV = XSTATE_BV + 8;
/** The legacy region and the header of 64 bytes, which every XSAVE area has. */
const LEAST_SIZE = LEGACY_REGION_SIZE + 64;
/** XCOMP_BV bit 63: the area is in the compacted format. */
const COMPACTED = 1n << 63n;

const FCW = { offset: 0, initial: 0x37f };
const MXCSR = { offset: 24, size: 4, initial: 0x1f80 };
const MXCSR_MASK = 28;
/** What a MXCSR_MASK of 0 means (Intel SDM Vol. 1, 11.6.6): DAZ is reserved. */
const DEFAULT_MXCSR_MASK = 0xffbf;

/** What of the legacy region belongs to x87 and to SSE, without MXCSR, which has rules of its own. */
const LEGACY_RANGES: Readonly<Partial<Record<Xcr0Flag, readonly [number, number][]>>> = {
  x87: [[0, 24], [32, 160]],
  sse: [[160, 416]],
};

/** The first component that does not lie in the legacy region. */
const FIRST_EXTENDED = 2;

/** Some bytes of a state component (Intel SDM Vol. 1, 13.4). */
export interface XsavePlace {
  /** The component, by the name of its bit in XCR0. */
  readonly component: Xcr0Flag;
  /** Where they begin: from the start of the component; of the area, for `x87` and `sse`. */
  readonly offset: number;
  /** How many they are. */
  readonly size: number;
}

/** A subleaf of CPUID leaf 0xD (Intel SDM Vol. 1, 13.2). */
export interface XsaveSubleaf {
  /** Its number: that of the component, from 2 on. */
  readonly index: number;
  /** The lower half of the bits that XCR0 can have, in subleaf 0; the component's size, from 2 on. */
  readonly eax: number;
  /** The component's offset in the standard format, from 2 on. */
  readonly ebx: number;
  /** The upper half of the bits that XCR0 can have, in subleaf 0. */
  readonly edx: number;
}

/** Where the components lie in an XSAVE area of the standard format (Intel SDM Vol. 1, 13.4). */
export interface XsaveLayout {
  /** The bits that XCR0 can have; 0 on a CPU without XSAVE. */
  readonly supported: bigint;
  /** The components behind the header, by the names of their bits in XCR0. */
  readonly components: ReadonlyMap<string, { readonly offset: number; readonly size: number }>;
}

/** The place of MXCSR. Whether it counts, `sse` and `avx` say together (Intel SDM Vol. 1, 13.8.1). */
export const MXCSR_PLACE: XsavePlace = {
  component: "sse",
  offset: MXCSR.offset,
  size: MXCSR.size,
};

/**
 * The layout that CPUID leaf 0xD tells (Intel SDM Vol. 1, 13.5.1 and 13.4.3).
 *
 * @param subleaves Those that the CPU has; none on a CPU without XSAVE.
 * @example
 * ```ts
 * import { xsaveLayout } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { supported, components } = xsaveLayout([
 *   { index: 0, eax: 7, ebx: 832, edx: 0 },
 *   { index: 2, eax: 256, ebx: 576, edx: 0 },
 * ]);
 * assertEquals(supported, 7n);
 * assertEquals(components.get("avx"), { offset: 576, size: 256 });
 * ```
 */
export function xsaveLayout(subleaves: readonly XsaveSubleaf[]): XsaveLayout {
  const main = subleaves.find(({ index }) => index === 0);
  const supported = main === undefined ? 0n : BigInt(main.edx) << 32n | BigInt(main.eax);
  const components = new Map<string, { offset: number; size: number }>();
  for (const [name, { bit }] of Object.entries(xcr0Flags)) {
    const subleaf = subleaves.find(({ index }) => index === bit);
    const isThere = bit >= FIRST_EXTENDED && (supported >> BigInt(bit) & 1n) === 1n;
    if (!isThere || subleaf === undefined || subleaf.eax === 0) continue;
    components.set(name, { offset: subleaf.ebx, size: subleaf.eax });
  }
  return { supported, components };
}

/**
 * An XSAVE area in the standard format, as `KVM_GET_XSAVE2` gives it. A component whose bit in XSTATE_BV is
 * clear is in its initial state, whatever the area's bytes are (Intel SDM Vol. 1, 13.4.2 and 13.6); writing
 * to one sets its bit and leaves the rest of it in that state.
 *
 * @example
 * ```ts
 * import { MXCSR_PLACE, XsaveArea, xsaveLayout } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const area = new XsaveArea(new Uint8Array(4096), xsaveLayout([]));
 * assertEquals(area.read([MXCSR_PLACE]), new Uint8Array([0x80, 0x1f, 0, 0]));
 * ```
 */
export class XsaveArea {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #layout: XsaveLayout;

  /**
   * The area in `bytes`, which it changes in place.
   *
   * @param bytes All of it, as `KVM_GET_XSAVE2` gives it: the legacy region of 512 bytes, the header of 64, and the
   *   components behind them.
   * @param layout Where those lie: {@linkcode xsaveLayout}.
   * @throws {RangeError} When they are too few, or in the compacted format.
   */
  constructor(bytes: Uint8Array, layout: XsaveLayout) {
    if (bytes.length < LEAST_SIZE) {
      throw new RangeError(
        `Cannot use ${bytes.length} bytes as an XSAVE area: its legacy region and its header have ${LEAST_SIZE}`,
      );
    }
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#layout = layout;
    if ((this.#view.getBigUint64(XCOMP_BV, true) & COMPACTED) !== 0n) {
      throw new RangeError(
        "Cannot use these bytes as an XSAVE area: they are in the compacted format (XCOMP_BV bit 63); " +
          "XSAVE and KVM write the standard one",
      );
    }
  }

  /** The bits of MXCSR that this CPU has. */
  get mxcsrMask(): number {
    return this.#view.getUint32(MXCSR_MASK, true) || DEFAULT_MXCSR_MASK;
  }

  /**
   * The bytes at these places, one after the other.
   *
   * @param places Of one register, the lowest first: {@linkcode XsaveRegister.places}.
   * @throws {RangeError} When the CPU lacks a component, or a place is not in it.
   */
  read(places: readonly XsavePlace[]): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(places.reduce((sum, { size }) => sum + size, 0));
    let at = 0;
    for (const place of places) {
      const start = this.#start(place);
      if (this.#counts(place)) bytes.set(this.#bytes.subarray(start, start + place.size), at);
      else bytes.set(initialBytes(place), at);
      at += place.size;
    }
    return bytes;
  }

  /**
   * Sets the bytes at these places, one after the other.
   *
   * @param places Of one register, the lowest first: {@linkcode XsaveRegister.places}.
   * @param bytes As many as the places have together, the lowest first.
   * @throws {RangeError} When the CPU lacks a component, a place is not in it, or they are not as many.
   */
  write(places: readonly XsavePlace[], bytes: Uint8Array): void {
    const starts = places.map((place) => this.#start(place));
    const size = places.reduce((sum, place) => sum + place.size, 0);
    if (bytes.length !== size) {
      throw new RangeError(`Cannot set ${size} bytes of XSAVE state from ${bytes.length} bytes`);
    }
    let at = 0;
    for (const [index, place] of places.entries()) {
      this.#use(place.component);
      this.#bytes.set(bytes.subarray(at, at + place.size), starts[index]);
      at += place.size;
    }
  }

  #isInUse(component: Xcr0Flag): boolean {
    const bits = this.#view.getBigUint64(XSTATE_BV, true);
    return (bits >> BigInt(xcr0Flags[component].bit) & 1n) === 1n;
  }

  /** Whether the area's bytes are what the place holds. */
  #counts(place: XsavePlace): boolean {
    if (isMxcsr(place)) return this.#isInUse("sse") || this.#isInUse("avx");
    return this.#isInUse(place.component);
  }

  /** Sets the component's bit; where it was clear, its bytes become those of the initial state. */
  #use(component: Xcr0Flag): void {
    if (this.#isInUse(component)) return;
    const bringsMxcsr = (component === "sse" || component === "avx") && !this.#counts(MXCSR_PLACE);
    for (const [start, end] of this.#ranges(component)) this.#bytes.fill(0, start, end);
    if (component === "x87") this.#view.setUint16(FCW.offset, FCW.initial, true);
    if (bringsMxcsr) this.#view.setUint32(MXCSR.offset, MXCSR.initial, true);
    const bits = this.#view.getBigUint64(XSTATE_BV, true);
    this.#view.setBigUint64(XSTATE_BV, bits | 1n << BigInt(xcr0Flags[component].bit), true);
  }

  #ranges(component: Xcr0Flag): readonly [number, number][] {
    const legacy = LEGACY_RANGES[component];
    if (legacy !== undefined) return legacy;
    const { offset, size } = this.#layout.components.get(component)!;
    return [[offset, offset + size]];
  }

  /** Where a place begins in the area. */
  #start({ component, offset, size }: XsavePlace): number {
    const isLegacy = LEGACY_RANGES[component] !== undefined;
    const found = isLegacy
      ? { offset: 0, size: LEGACY_REGION_SIZE }
      : this.#layout.components.get(component);
    if (found === undefined) {
      throw new RangeError(
        `Cannot find ${component} in the XSAVE area: CPUID leaf 0xD does not offer that component`,
      );
    }
    const start = found.offset + offset;
    if (offset + size <= found.size && start + size <= this.#bytes.length) return start;
    throw new RangeError(
      `Cannot find bytes ${offset} to ${
        offset + size - 1
      } of ${component} in the XSAVE area: the component has ` +
        `${found.size} bytes at ${found.offset}, and the area ${this.#bytes.length}`,
    );
  }
}

function isMxcsr({ component, offset }: XsavePlace): boolean {
  return component === MXCSR_PLACE.component && offset === MXCSR_PLACE.offset;
}

/** What a place holds in the initial state: zero, but for FCW and MXCSR (Intel SDM Vol. 1, 13.6). */
function initialBytes(place: XsavePlace): Uint8Array {
  const bytes = new Uint8Array(place.size);
  const view = new DataView(bytes.buffer);
  if (isMxcsr(place)) view.setUint32(0, MXCSR.initial, true);
  if (place.component === "x87" && place.offset === FCW.offset) {
    view.setUint16(0, FCW.initial, true);
  }
  return bytes;
}

/** A number from 0 to 7. */
export type UpTo7 = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;
/** A number from 0 to 31. */
export type UpTo31 =
  | (UpTo7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18 | 19)
  | (20 | 21 | 22 | 23 | 24 | 25 | 26 | 27 | 28 | 29 | 30 | 31);

/** The registers of SSE, AVX and AVX-512 (Intel SDM Vol. 1, 10.2.2, 14.1.1 and 15.1.1). */
export type SimdRegister = `${"xmm" | "ymm" | "zmm"}${UpTo31}`;
/** How such a register is cut into lanes: unsigned and signed integers, single and double precision. */
export type Lane = "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "f32" | "f64";
/** The registers of MMX, which are the lower 64 bits of x87's (Intel SDM Vol. 1, 9.2.1). */
export type MmxRegister = `mm${UpTo7}`;
/** The stack of x87, from its top (Intel SDM Vol. 1, 8.1.2). */
export type X87StackRegister = `st${UpTo7}`;
/** The mask registers of AVX-512 (Intel SDM Vol. 1, 15.1.3). */
export type OpmaskRegister = `k${UpTo7}`;

/** A register that lies in the XSAVE area (Intel SDM Vol. 1, 13.4). */
export interface XsaveRegister {
  /** Number of bits. */
  readonly width: number;
  /** Its bytes, lowest first. */
  readonly places: readonly XsavePlace[];
}

const XMM_SIZE = 16;
const UPPER_YMM_SIZE = 16;
const UPPER_ZMM_SIZE = 32;
const ZMM_SIZE = 64;
const OPMASK_SIZE = 8;
const BITS = 8;

/** Where the legacy region has XMM0, and ST0 (Intel SDM Vol. 1, 10.5.1). */
const XMM0 = 160;
const ST0 = 32;
const ST_STRIDE = 16;
const ST_SIZE = 10;
const MMX_SIZE = 8;

/** The registers from this number on lie whole in a component of their own. */
const HIGH_REGISTERS = 16;
const SIMD_REGISTERS = 32;
const REGISTERS = 8;

/** XMM, YMM and ZMM registers by name. */
export const simdRegisters: ReadonlyMap<string, XsaveRegister> = new Map(
  Array.from({ length: SIMD_REGISTERS }, (_, index) => simdNames(index)).flat(),
);

/** The mask registers of AVX-512 by name. */
export const opmaskRegisters: ReadonlyMap<string, XsaveRegister> = new Map(
  Array.from({ length: REGISTERS }, (_, index): [OpmaskRegister, XsaveRegister] => [
    `k${index as UpTo7}`,
    register([place("opmask", index * OPMASK_SIZE, OPMASK_SIZE)]),
  ]),
);

/** The registers of the stack of x87 by name, from its top. */
export const x87StackRegisters: ReadonlyMap<string, XsaveRegister> = new Map(
  Array.from({ length: REGISTERS }, (_, index): [X87StackRegister, XsaveRegister] => [
    `st${index as UpTo7}`,
    register([place("x87", ST0 + index * ST_STRIDE, ST_SIZE)]),
  ]),
);

/** The names of the registers of MMX. */
export const mmxRegisters: readonly MmxRegister[] = Array.from(
  { length: REGISTERS },
  (_, index): MmxRegister => `mm${index as UpTo7}`,
);

/** Number of bits of a register of MMX. */
export const MMX_WIDTH: number = MMX_SIZE * BITS;

/**
 * The names of what the XSAVE area has besides vectors and stacks (Intel SDM Vol. 1, 8.1 and 10.2.3; Vol. 3A, 4.6.2).
 */
export type FpuRegister = "fcw" | "fsw" | "ftw" | "fop" | "fip" | "fdp" | "mxcsr" | "pkru";

/** Control and status of x87 and SSE, and PKRU, by name (Intel SDM Vol. 1, 10.5.1 and 13.5.7). */
export const fpuRegisters: Readonly<Record<FpuRegister, XsaveRegister>> = {
  fcw: register([place("x87", 0, 2)]),
  fsw: register([place("x87", 2, 2)]),
  ftw: register([place("x87", 4, 1)]),
  fop: register([place("x87", 6, 2)]),
  fip: register([place("x87", 8, 8)]),
  fdp: register([place("x87", 16, 8)]),
  mxcsr: register([MXCSR_PLACE]),
  pkru: register([place("pkru", 0, 4)]),
};

/**
 * Where a register of MMX lies, with the 16 bits above it: the area has x87's registers from the top of the stack on,
 * and MMX numbers them as they are (Intel SDM Vol. 1, 9.2.1).
 *
 * @param index Its number.
 * @param top TOP of the x87 status word.
 */
export function mmxPlaces(index: number, top: number): readonly XsavePlace[] {
  const fromTop = (index - top + REGISTERS) % REGISTERS;
  return [place("x87", ST0 + fromTop * ST_STRIDE, ST_SIZE)];
}

function simdNames(index: number): [SimdRegister, XsaveRegister][] {
  const number = index as UpTo31;
  const pieces = index < HIGH_REGISTERS
    ? {
      xmm: [place("sse", XMM0 + index * XMM_SIZE, XMM_SIZE)],
      upperYmm: [place("avx", index * UPPER_YMM_SIZE, UPPER_YMM_SIZE)],
      upperZmm: [place("zmm_hi256", index * UPPER_ZMM_SIZE, UPPER_ZMM_SIZE)],
    }
    : highPieces((index - HIGH_REGISTERS) * ZMM_SIZE);
  const { xmm, upperYmm, upperZmm } = pieces;
  return [
    [`xmm${number}`, register(xmm)],
    [`ymm${number}`, register([...xmm, ...upperYmm])],
    [`zmm${number}`, register([...xmm, ...upperYmm, ...upperZmm])],
  ];
}

function highPieces(start: number) {
  const upperYmm = start + XMM_SIZE;
  const upperZmm = upperYmm + UPPER_YMM_SIZE;
  return {
    xmm: [place("hi16_zmm", start, XMM_SIZE)],
    upperYmm: [place("hi16_zmm", upperYmm, UPPER_YMM_SIZE)],
    upperZmm: [place("hi16_zmm", upperZmm, UPPER_ZMM_SIZE)],
  };
}

function register(places: readonly XsavePlace[]): XsaveRegister {
  return { width: BITS * places.reduce((sum, { size }) => sum + size, 0), places };
}

function place(component: Xcr0Flag, offset: number, size: number): XsavePlace {
  return { component, offset, size };
}
