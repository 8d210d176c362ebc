import { flagAt as at, type FlagTable } from "./flags.ts";

/** Flags of CR0 (Intel SDM Vol. 3A, 2.5). */
export type Cr0Flag = "pe" | "mp" | "em" | "ts" | "et" | "ne" | "wp" | "am" | "nw" | "cd" | "pg";
/** Flags of CR3 while CR4.PCIDE is 0 (Intel SDM Vol. 3A, 2.5 and table 4-12). */
export type Cr3Flag = "pwt" | "pcd";
/** Flags of CR4 (Intel SDM Vol. 3A, 2.5). */
export type Cr4Flag =
  | ("vme" | "pvi" | "tsd" | "de" | "pse" | "pae" | "mce" | "pge" | "pce" | "osfxsr")
  | ("osxmmexcpt" | "umip" | "la57" | "vmxe" | "smxe" | "fsgsbase" | "pcide" | "osxsave" | "kl")
  | ("smep" | "smap" | "pke" | "cet" | "pks" | "uintr" | "lass" | "lam_sup");
/** Flags of EFER (Intel SDM Vol. 3A, 2.2.1; AMD APM Vol. 2, 3.1.7). */
export type EferFlag =
  | ("sce" | "lme" | "lma" | "nxe" | "svme" | "lmsle" | "ffxsr" | "tce")
  | ("mcommit" | "intwb" | "uaie" | "aibrse");
/** Flags of RFLAGS (Intel SDM Vol. 1, 3.4.3). `iopl` has two bits. */
export type RflagsFlag =
  | ("cf" | "pf" | "af" | "zf" | "sf" | "tf" | "if" | "df" | "of" | "iopl" | "nt")
  | ("rf" | "vm" | "ac" | "vif" | "vip" | "id");
/** Flags of IA32_APIC_BASE (Intel SDM Vol. 3A, 10.4.4). */
export type ApicBaseFlag = "bsp" | "extd" | "en";
/** Flags of the entries of 4-level page tables (Intel SDM Vol. 3A, 4.5). */
export type PageEntryFlag = "p" | "rw" | "us" | "pwt" | "pcd" | "a" | "d" | "ps" | "g" | "xd";

/** CR0 by name (Intel SDM Vol. 3A, 2.5). */
export const cr0Flags: FlagTable<Cr0Flag> = {
  pe: at(0),
  mp: at(1),
  em: at(2),
  ts: at(3),
  et: at(4),
  ne: at(5),
  wp: at(16),
  am: at(18),
  nw: at(29),
  cd: at(30),
  pg: at(31),
};

/** CR3 by name, while CR4.PCIDE is 0. The rest of it is the address of the root table (Intel SDM Vol. 3A, 2.5). */
export const cr3Flags: FlagTable<Cr3Flag> = { pwt: at(3), pcd: at(4) };

/** CR3 by name, while CR4.PCIDE is 1: bits 11:0 are then the process-context identifier (Intel SDM Vol. 3A, 4.5). */
export const cr3PcidFlags: FlagTable<"pcid"> = { pcid: at(0, 12) };

/** CR4 by name (Intel SDM Vol. 3A, 2.5). */
export const cr4Flags: FlagTable<Cr4Flag> = {
  vme: at(0),
  pvi: at(1),
  tsd: at(2),
  de: at(3),
  pse: at(4),
  pae: at(5),
  mce: at(6),
  pge: at(7),
  pce: at(8),
  osfxsr: at(9),
  osxmmexcpt: at(10),
  umip: at(11),
  la57: at(12),
  vmxe: at(13),
  smxe: at(14),
  fsgsbase: at(16),
  pcide: at(17),
  osxsave: at(18),
  kl: at(19),
  smep: at(20),
  smap: at(21),
  pke: at(22),
  cet: at(23),
  pks: at(24),
  uintr: at(25),
  lass: at(27),
  lam_sup: at(28),
};

/** EFER by name. From `svme` on the flags are AMD's alone. */
export const eferFlags: FlagTable<EferFlag> = {
  sce: at(0),
  lme: at(8),
  lma: at(10),
  nxe: at(11),
  svme: at(12),
  lmsle: at(13),
  ffxsr: at(14),
  tce: at(15),
  mcommit: at(17),
  intwb: at(18),
  uaie: at(20),
  aibrse: at(21),
};

/** RFLAGS by name. Bit 1, which is always 1, has no name (Intel SDM Vol. 1, 3.4.3). */
export const rflagsFlags: FlagTable<RflagsFlag> = {
  cf: at(0),
  pf: at(2),
  af: at(4),
  zf: at(6),
  sf: at(7),
  tf: at(8),
  if: at(9),
  df: at(10),
  of: at(11),
  iopl: at(12, 2),
  nt: at(14),
  rf: at(16),
  vm: at(17),
  ac: at(18),
  vif: at(19),
  vip: at(20),
  id: at(21),
};

/** RFLAGS bit 1, which reads as 1 and must be written as 1 (Intel SDM Vol. 1, 3.4.3). */
export const RFLAGS_ALWAYS_SET = 0x2n;

/** IA32_APIC_BASE by name. The rest of it is the local APIC's physical address (Intel SDM Vol. 3A, 10.4.4). */
export const apicBaseFlags: FlagTable<ApicBaseFlag> = { bsp: at(8), extd: at(10), en: at(11) };

/**
 * The entries of page tables by name. `ps` is a page table entry's PAT bit. The rest is an address (Intel SDM Vol.
 * 3A, 4.5.4).
 */
export const pageEntryFlags: FlagTable<PageEntryFlag> = {
  p: at(0),
  rw: at(1),
  us: at(2),
  pwt: at(3),
  pcd: at(4),
  a: at(5),
  d: at(6),
  ps: at(7),
  g: at(8),
  xd: at(63),
};

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

/** MXCSR by name (Intel SDM Vol. 1, 10.2.3). */
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

/** The x87 control word by name (Intel SDM Vol. 1, 8.1.5). */
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

/** The x87 status word by name (Intel SDM Vol. 1, 8.1.3). */
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

/** Flags of DR6, the debug status (Intel SDM Vol. 3B, 17.2.3). `bld` and `rtm` read 0 when they are set. */
export type Dr6Flag = "b0" | "b1" | "b2" | "b3" | "bld" | "bd" | "bs" | "bt" | "rtm";

/**
 * Flags of DR7, the debug control (Intel SDM Vol. 3B, 17.2.4). `rw0` to `rw3` and `len0` to `len3` have two
 * bits.
 */
export type Dr7Flag =
  | ("l0" | "g0" | "l1" | "g1" | "l2" | "g2" | "l3" | "g3" | "le" | "ge" | "rtm" | "gd")
  | ("rw0" | "len0" | "rw1" | "len1" | "rw2" | "len2" | "rw3" | "len3");

/** DR6 by name (Intel SDM Vol. 3B, 17.2.3). */
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

/** DR7 by name (Intel SDM Vol. 3B, 17.2.4). */
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

/** Flags of XCR0 (Intel SDM Vol. 3A, 2.6), which are the numbers of the XSAVE area's state components too. */
export type Xcr0Flag =
  | ("x87" | "sse" | "avx" | "bndregs" | "bndcsr" | "opmask" | "zmm_hi256" | "hi16_zmm")
  | ("pkru" | "tilecfg" | "tiledata");

/** XCR0 by name (Intel SDM Vol. 1, 13.3). */
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

/**
 * The flags of each register that is made of flags (Intel SDM Vol. 3A, 2.3, 2.5 and 2.6; 3B, 17.2; Vol. 1, 8.1 and
 * 10.2.3).
 */
export interface FlagsOfRegisters {
  /** RFLAGS. */
  rflags: RflagsFlag;
  /** CR0. */
  cr0: Cr0Flag;
  /** CR4. */
  cr4: Cr4Flag;
  /** EFER. */
  efer: EferFlag;
  /** XCR0: the state that XSAVE keeps. */
  xcr0: Xcr0Flag;
  /** DR6: which breakpoint it was. */
  dr6: Dr6Flag;
  /** DR7: which breakpoints there are. */
  dr7: Dr7Flag;
  /** Control and status of SSE. */
  mxcsr: MxcsrFlag;
  /** The control word of x87. */
  fcw: FcwFlag;
  /** The status word of x87. */
  fsw: FswFlag;
}

/** Registers that are made of flags. */
export type FlagRegisterName = keyof FlagsOfRegisters;

/**
 * The flags that have several bits: numbers, where all others are booleans (Intel SDM Vol. 3A, 2.3; 3B, 17.2.4; Vol.
 * 1, 8.1.3 and 8.1.5).
 */
export type FlagFieldName = "iopl" | "pc" | "rc" | "top" | `${"rw" | "len"}${0 | 1 | 2 | 3}`;

/** The flags of those registers by name. */
export const flagRegisterTables: {
  readonly [Name in FlagRegisterName]: FlagTable<FlagsOfRegisters[Name]>;
} = {
  rflags: rflagsFlags,
  cr0: cr0Flags,
  cr4: cr4Flags,
  efer: eferFlags,
  xcr0: xcr0Flags,
  dr6: dr6Flags,
  dr7: dr7Flags,
  mxcsr: mxcsrFlags,
  fcw: fcwFlags,
  fsw: fswFlags,
};
