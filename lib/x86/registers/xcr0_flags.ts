import { flagAt as at, type FlagTable } from "./flags.ts";

/** Flags of XCR0 (Intel SDM Vol. 3A, 2.6), which are the numbers of the XSAVE area's state components too. */
export type Xcr0Flag =
  | ("x87" | "sse" | "avx" | "bndregs" | "bndcsr" | "opmask" | "zmm_hi256" | "hi16_zmm")
  | ("pkru" | "tilecfg" | "tiledata");

/** XCR0 by name. */
export const xcr0Flags: FlagTable<Xcr0Flag> = {
  x87: at(0),
  sse: at(1),
  avx: at(2),
  bndregs: at(3),
  bndcsr: at(4),
  opmask: at(5),
  zmm_hi256: at(6),
  hi16_zmm: at(7),
  pkru: at(9),
  tilecfg: at(17),
  tiledata: at(18),
};
