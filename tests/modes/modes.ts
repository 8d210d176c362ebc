import type { BootOptions, Needs } from "@vmexit/vmexit";

/** A way to boot, by a name for tests. */
export interface NamedBoot {
  /** The mode in words. */
  name: string;
  /** How to boot into it. */
  options: BootOptions;
  /** The width of its code. */
  bits: 16 | 32 | 64;
  /** The privilege level of its code. */
  cpl: 0 | 3;
}

/** Every mode that a machine can boot into, with each kind of its pages and at each privilege level. */
export const modes: readonly NamedBoot[] = [
  { name: "real", options: { mode: "real" }, bits: 16, cpl: 0 },
  { name: "unreal", options: { mode: "unreal" }, bits: 16, cpl: 0 },
  { name: "16-bit protected", options: { mode: "protected16" }, bits: 16, cpl: 0 },
  { name: "virtual-8086", options: { mode: "virtual8086" }, bits: 16, cpl: 3 },
  { name: "protected", options: { mode: "protected" }, bits: 32, cpl: 0 },
  { name: "protected, CPL 3", options: { mode: "protected", cpl: 3 }, bits: 32, cpl: 3 },
  { name: "4 MiB pages", options: { mode: "paged" }, bits: 32, cpl: 0 },
  { name: "4 KiB pages", options: { mode: "paged", identityMap: "4K" }, bits: 32, cpl: 0 },
  { name: "32-bit paging, CPL 3", options: { mode: "paged", cpl: 3 }, bits: 32, cpl: 3 },
  { name: "PAE", options: { mode: "pae" }, bits: 32, cpl: 0 },
  { name: "PAE, CPL 3", options: { mode: "pae", cpl: 3 }, bits: 32, cpl: 3 },
  { name: "compatibility", options: { mode: "compatibility" }, bits: 32, cpl: 0 },
  { name: "compatibility, CPL 3", options: { mode: "compatibility", cpl: 3 }, bits: 32, cpl: 3 },
  { name: "long", options: { mode: "long" }, bits: 64, cpl: 0 },
  { name: "long, CPL 3", options: { mode: "long", cpl: 3 }, bits: 64, cpl: 3 },
  { name: "long, 5 levels", options: { mode: "long", levels: 5 }, bits: 64, cpl: 0 },
];

/** What a boot needs of the processor that not all have, for `requires`. */
export function needsOf(options: BootOptions): Needs {
  return "levels" in options && options.levels === 5 ? { la57: true } : {};
}
