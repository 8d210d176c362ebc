import type { CpuState, Mode } from "../cpu_state.ts";
import { cr0Flags, cr4Flags, eferFlags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { PROTECTED_MODE } from "../../layout.ts";
import { withCatcherMapped } from "./catcher_mapping.ts";
import { checkWrites } from "../../placement.ts";
import { specialRegisters } from "./common.ts";
import { descriptorTables } from "./descriptor_tables.ts";
import type { PagingLayout } from "./paging_layout.ts";
import type { PrivilegeLayout } from "./protection_layout.ts";
import { layoutPageTables } from "./layout_page_tables.ts";

/** What a boot state of long mode can be told, whatever its code. */
export interface Ia32eLayout extends PrivilegeLayout, PagingLayout<"4K" | "2M" | "1G"> {
  /** Levels of page tables. With 5, which not every CPU has, linear addresses have 57 bits. Default 4. */
  levels?: 4 | 5;
}

/** What tells 64-bit mode and compatibility mode apart. */
export interface Ia32eStart {
  /** The mode. */
  mode: Mode;
  /** How wide the code is that starts. */
  codeBits: 32 | 64;
  /** Where it starts. */
  rip: bigint;
  /** Its stack. */
  rsp: bigint;
}

/** A state in long mode (IA-32e mode, in Intel's words), with 64-bit or 32-bit code. */
export function ia32eState(layout: Ia32eLayout, start: Ia32eStart): CpuState {
  const { memorySize = PROTECTED_MODE.memorySize, cpl = 0, ioPermission = true, levels = 4 } =
    layout;
  if (levels !== 4 && levels !== 5) {
    throw new RangeError(
      `Cannot translate addresses by ${levels} levels of tables: there are 4 and 5`,
    );
  }
  const tables = descriptorTables(layout, {
    bits: 64,
    codeBits: start.codeBits,
    cpl,
    opensPorts: cpl === 3 && ioPermission,
  });
  const { cr3, writes: pageTables } = layoutPageTables(layout, {
    paging: levels === 5 ? "5-level" : "4-level",
    user: cpl === 3,
    memorySize,
  });
  const writes = checkWrites([...pageTables, ...tables.writes], memorySize);
  return withCatcherMapped({
    mode: start.mode,
    registers: { rip: start.rip, rsp: start.rsp, rflags: RFLAGS_ALWAYS_SET },
    specialRegisters: specialRegisters(tables.registers, {
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true, wp: true, pg: true }),
      cr3,
      cr4: flagsToValue(cr4Flags, {
        pae: true,
        osfxsr: true,
        osxmmexcpt: true,
        la57: levels === 5,
      }),
      efer: flagsToValue(eferFlags, { lme: true, lma: true, nxe: true }),
    }),
    writes,
    ...tables.faultCatcher && { faultCatcher: tables.faultCatcher },
  });
}
