import { getFlag } from "../registers/flags.ts";
import { pageEntryFlags } from "../registers/flag_tables.ts";
import { hex } from "../hex.ts";
import { pagingFormats } from "../paging/page_levels.ts";
import { pagingModeOf } from "../paging/paging_mode.ts";
import { reservedBits } from "../paging/reserved_bits.ts";
import type { GuestStateRule } from "./guest_state.ts";

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
