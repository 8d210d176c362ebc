import {
  cr0Flags,
  cr4Flags,
  type EferFlag,
  eferFlags,
  pageEntryFlags,
} from "../registers/flag_tables.ts";
import { flagMask, flagNames, flagsToValue, type FlagTable, getFlag } from "../registers/flags.ts";
import { hex } from "../hex.ts";
import type { CheckedGuestState, GuestStateRule } from "./guest_state.ts";
import { pagingFormats, pagingModeOf } from "../paging/page_levels.ts";
import { reservedBits } from "../paging/page_walk.ts";

const section = "Intel SDM Vol. 3C, 26.3.1.1";

/** The flags of EFER that Intel's CPUs have. */
const intelEferFlags: readonly EferFlag[] = ["sce", "lme", "lma", "nxe"];

/** Checks on guest control registers and MSRs (Intel SDM Vol. 3C, 26.3.1.1), those that CPU state decides. */
export const controlRegisterRules: readonly GuestStateRule[] = [
  {
    rule: "CR0 has every bit that VMX fixes to 1 (an unrestricted guest may clear PE and PG)",
    section,
    broken({ specialRegisters: { cr0 }, cr0Fixed0, unrestrictedGuest }) {
      const excused = unrestrictedGuest ? flagsToValue(cr0Flags, { pe: true, pg: true }) : 0n;
      return bits("CR0", cr0, cr0Fixed0 & ~excused & ~cr0, "clear", cr0Flags);
    },
  },
  {
    rule: "CR0 has no bit that VMX fixes to 0",
    section,
    broken: ({ specialRegisters: { cr0 }, cr0Fixed1 }) =>
      bits("CR0", cr0, cr0 & ~cr0Fixed1, "set", cr0Flags),
  },
  {
    rule: "CR0.PG needs CR0.PE",
    section,
    broken: (state) =>
      has(state, "cr0", "pg") && !has(state, "cr0", "pe") ? ["CR0.PG is 1, CR0.PE is 0"] : [],
  },
  {
    rule: "CR4 has every bit that VMX fixes to 1",
    section,
    broken: ({ specialRegisters: { cr4 }, cr4Fixed0 }) =>
      bits("CR4", cr4, cr4Fixed0 & ~cr4, "clear", cr4Flags),
  },
  {
    rule: "CR4 has no bit that VMX fixes to 0",
    section,
    broken: ({ specialRegisters: { cr4 }, cr4Fixed1 }) =>
      bits("CR4", cr4, cr4 & ~cr4Fixed1, "set", cr4Flags),
  },
  {
    rule: "CR4.CET needs CR0.WP",
    section,
    broken: (state) =>
      has(state, "cr4", "cet") && !has(state, "cr0", "wp") ? ["CR4.CET is 1, CR0.WP is 0"] : [],
  },
  {
    rule: "IA-32e mode needs CR0.PG",
    section,
    broken: (state) =>
      state.ia32e && !has(state, "cr0", "pg") ? ["EFER.LMA is 1, CR0.PG is 0"] : [],
  },
  {
    rule: "IA-32e mode needs CR4.PAE",
    section,
    broken: (state) =>
      state.ia32e && !has(state, "cr4", "pae") ? ["EFER.LMA is 1, CR4.PAE is 0"] : [],
  },
  {
    rule: "CR4.PCIDE needs IA-32e mode",
    section,
    broken: (state) =>
      !state.ia32e && has(state, "cr4", "pcide") ? ["CR4.PCIDE is 1, EFER.LMA is 0"] : [],
  },
  {
    rule: "CR3 has no bit beyond the physical-address width",
    section,
    broken: ({ specialRegisters: { cr3 }, physicalAddressBits }) =>
      cr3 >> BigInt(physicalAddressBits) === 0n
        ? []
        : [`CR3 is ${hex(cr3)}, physical addresses have ${physicalAddressBits} bits`],
  },
  {
    rule: "EFER has no reserved bit",
    section,
    broken({ specialRegisters: { efer } }) {
      const known = Object.fromEntries(intelEferFlags.map((name) => [name, true]));
      return bits("EFER", efer, efer & ~flagsToValue(eferFlags, known), "set", eferFlags);
    },
  },
  {
    rule: "With CR0.PG, EFER.LME equals EFER.LMA",
    section,
    broken(state) {
      const [lme, lma] = [has(state, "efer", "lme"), has(state, "efer", "lma")];
      return has(state, "cr0", "pg") && lme !== lma
        ? [`EFER.LME is ${Number(lme)}, EFER.LMA is ${Number(lma)}`]
        : [];
    },
  },
];

const tables = { cr0: cr0Flags, cr4: cr4Flags, efer: eferFlags } as const;

/** Whether a flag of CR0, CR4 or EFER is set. */
function has<Register extends keyof typeof tables>(
  { specialRegisters }: CheckedGuestState,
  register: Register,
  flag: keyof (typeof tables)[Register] & string,
): boolean {
  return getFlag(tables[register], flag, specialRegisters[register]) === true;
}

/** One sentence on the bits of `wrong`, none where there are none. */
function bits(
  register: string,
  value: bigint,
  wrong: bigint,
  state: "set" | "clear",
  table: FlagTable,
): string[] {
  if (wrong === 0n) return [];
  const unnamed = wrong & ~flagMask(table);
  const names = [...flagNames(table, wrong), ...(unnamed === 0n ? [] : [hex(unnamed)])];
  return [`${register} is ${hex(value)}: ${names.join(", ")} ${state}`];
}

/** PAE's page-directory-pointer table has one entry for each GiB of 32-bit addresses. */
const ENTRIES = 4;
const POINTERS = pagingFormats.PAE.levels[0];

/**
 * Checks on the page-directory-pointer-table entries of PAE paging (Intel SDM Vol. 3C, 26.3.1.6). With EPT, VM entry
 * takes them from where KVM put them when CR3 was set; KVM reads them from memory then, and refuses none.
 */
export const pointerRules: readonly GuestStateRule[] = [
  {
    rule: "PAE's page-directory-pointer-table entries that are present have no reserved bit",
    section: "Intel SDM Vol. 3C, 26.3.1.6",
    broken({ specialRegisters, read, physicalAddressBits }) {
      if (read === undefined || pagingModeOf(specialRegisters) !== "PAE") return [];
      const table = Number(specialRegisters.cr3 & pagingFormats.PAE.rootAddress);
      const features = { paging: "PAE", noExecute: true, largePages: true } as const;
      const reserved = reservedBits(POINTERS, undefined, { ...features, physicalAddressBits });
      return Array.from({ length: ENTRIES }, (_, index) => index).flatMap((index) => {
        const entry = read(table + index * pagingFormats.PAE.entrySize) ?? 0n;
        return getFlag(pageEntryFlags, "p", entry) && (entry & reserved) !== 0n
          ? [`PDPTE${index} is ${hex(entry)}`]
          : [];
      });
    },
  },
];
