import { flagAt as at, type FlagTable } from "./flags.ts";

/** Flags of MXCSR (Intel SDM Vol. 1, 10.2.3). `rc` has two bits. */
export type MxcsrFlag =
  | ("ie" | "de" | "ze" | "oe" | "ue" | "pe" | "daz" | "im" | "dm" | "zm" | "om" | "um" | "pm")
  | ("rc" | "ftz");

/** Flags of the x87 control word (Intel SDM Vol. 1, 8.1.5). `pc` and `rc` have two bits. */
export type FcwFlag = "im" | "dm" | "zm" | "om" | "um" | "pm" | "pc" | "rc" | "x";

/** Flags of the x87 status word (Intel SDM Vol. 1, 8.1.3). `top` has three bits. */
export type FswFlag =
  | ("ie" | "de" | "ze" | "oe" | "ue" | "pe" | "sf" | "es" | "c0" | "c1" | "c2" | "top" | "c3")
  | "b";

/** MXCSR by name. */
export const mxcsrFlags: FlagTable<MxcsrFlag> = {
  ie: at(0),
  de: at(1),
  ze: at(2),
  oe: at(3),
  ue: at(4),
  pe: at(5),
  daz: at(6),
  im: at(7),
  dm: at(8),
  zm: at(9),
  om: at(10),
  um: at(11),
  pm: at(12),
  rc: at(13, 2),
  ftz: at(15),
};

/** The x87 control word by name. */
export const fcwFlags: FlagTable<FcwFlag> = {
  im: at(0),
  dm: at(1),
  zm: at(2),
  om: at(3),
  um: at(4),
  pm: at(5),
  pc: at(8, 2),
  rc: at(10, 2),
  x: at(12),
};

/** The x87 status word by name. */
export const fswFlags: FlagTable<FswFlag> = {
  ie: at(0),
  de: at(1),
  ze: at(2),
  oe: at(3),
  ue: at(4),
  pe: at(5),
  sf: at(6),
  es: at(7),
  c0: at(8),
  c1: at(9),
  c2: at(10),
  top: at(11, 3),
  c3: at(14),
  b: at(15),
};
