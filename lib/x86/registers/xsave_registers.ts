import type { Xcr0Flag } from "./xcr0_flags.ts";
import { MXCSR_PLACE, type XsavePlace } from "./xsave.ts";

/** A number from 0 to 7. */
export type UpTo7 = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7;
/** A number from 0 to 31. */
export type UpTo31 =
  | (UpTo7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18 | 19)
  | (20 | 21 | 22 | 23 | 24 | 25 | 26 | 27 | 28 | 29 | 30 | 31);

/** The registers of SSE, AVX and AVX-512. */
export type SimdRegister = `${"xmm" | "ymm" | "zmm"}${UpTo31}`;
/** The registers of MMX, which are the lower 64 bits of x87's. */
export type MmxRegister = `mm${UpTo7}`;
/** The stack of x87, from its top. */
export type X87StackRegister = `st${UpTo7}`;
/** The mask registers of AVX-512. */
export type OpmaskRegister = `k${UpTo7}`;

/** A register that lies in the XSAVE area. */
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

/** The names of what the XSAVE area has besides vectors and stacks. */
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
 * Where a register of MMX lies, with the 16 bits above it: the area has x87's registers from the top of the stack on, and MMX numbers
 * them as they are (Intel SDM Vol. 1, 9.2.1).
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
