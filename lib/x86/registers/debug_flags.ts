import { flagAt as at, type FlagTable } from "./flags.ts";

/** Flags of DR6, the debug status (Intel SDM Vol. 3B, 17.2.3). `bld` and `rtm` read 0 when they are set. */
export type Dr6Flag = "b0" | "b1" | "b2" | "b3" | "bld" | "bd" | "bs" | "bt" | "rtm";

/**
 * Flags of DR7, the debug control (Intel SDM Vol. 3B, 17.2.4). `rw0` to `rw3` and `len0` to `len3` have two
 * bits.
 */
export type Dr7Flag =
  | ("l0" | "g0" | "l1" | "g1" | "l2" | "g2" | "l3" | "g3" | "le" | "ge" | "rtm" | "gd")
  | ("rw0" | "len0" | "rw1" | "len1" | "rw2" | "len2" | "rw3" | "len3");

/** DR6 by name. */
export const dr6Flags: FlagTable<Dr6Flag> = {
  b0: at(0),
  b1: at(1),
  b2: at(2),
  b3: at(3),
  bld: at(11),
  bd: at(13),
  bs: at(14),
  bt: at(15),
  rtm: at(16),
};

/** DR7 by name. */
export const dr7Flags: FlagTable<Dr7Flag> = {
  l0: at(0),
  g0: at(1),
  l1: at(2),
  g1: at(3),
  l2: at(4),
  g2: at(5),
  l3: at(6),
  g3: at(7),
  le: at(8),
  ge: at(9),
  rtm: at(11),
  gd: at(13),
  rw0: at(16, 2),
  len0: at(18, 2),
  rw1: at(20, 2),
  len1: at(22, 2),
  rw2: at(24, 2),
  len2: at(26, 2),
  rw3: at(28, 2),
  len3: at(30, 2),
};
