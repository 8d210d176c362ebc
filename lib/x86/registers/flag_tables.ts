import { flagAt as at, type FlagTable } from "./flags.ts";

/** Flags of CR0 (Intel SDM Vol. 3A, 2.5). */
export type Cr0Flag = "pe" | "mp" | "em" | "ts" | "et" | "ne" | "wp" | "am" | "nw" | "cd" | "pg";
/** Flags of CR3 while CR4.PCIDE is 0. */
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

/** CR0 by name. */
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

/** CR3 by name, while CR4.PCIDE is 0. The rest of it is the address of the root table. */
export const cr3Flags: FlagTable<Cr3Flag> = { pwt: at(3), pcd: at(4) };

/** CR3 by name, while CR4.PCIDE is 1: bits 11:0 are then the process-context identifier. */
export const cr3PcidFlags: FlagTable<"pcid"> = { pcid: at(0, 12) };

/** CR4 by name. */
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

/** RFLAGS by name. Bit 1, which is always 1, has no name. */
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

/** RFLAGS bit 1, which reads as 1 and must be written as 1. */
export const RFLAGS_ALWAYS_SET = 0x2n;

/** IA32_APIC_BASE by name. The rest of it is the local APIC's physical address. */
export const apicBaseFlags: FlagTable<ApicBaseFlag> = { bsp: at(8), extd: at(10), en: at(11) };

/** The entries of page tables by name. `ps` is a page table entry's PAT bit. The rest is an address. */
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
