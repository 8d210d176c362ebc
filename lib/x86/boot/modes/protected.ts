import type { CpuState, Mode } from "../cpu_state.ts";
import { cr0Flags, cr4Flags, eferFlags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { LOW_PROTECTED_MODE, PROTECTED_MODE } from "../../layout.ts";
import type { PageTables } from "../../paging/page_tables.ts";
import { withCatcherMapped } from "./fault_catcher.ts";
import { checkWrites } from "../../placement.ts";
import { offsetOf, specialRegisters } from "./common.ts";
import {
  descriptorTables,
  type PrivilegeLayout,
  type ProtectionLayout,
} from "./descriptor_tables.ts";
import { layoutPageTables, type PagingLayout } from "./paging_layout.ts";

/**
 * What a boot state of 32-bit protected mode can be told (Intel SDM Vol. 3A, 3.2 and 9.9.1). All of it has defaults.
 */
export interface ProtectedLayout extends PrivilegeLayout {
  /** Address of the first instruction. Default 0x10000. */
  entry?: number;
  /** Initial ESP. Default 0x10000. */
  stack?: number;
}

/** What a boot state with 32-bit paging can be told (Intel SDM Vol. 3A, 4.3). All of it has defaults. */
export interface PagedLayout extends ProtectedLayout, PagingLayout<"4K" | "4M"> {}

/** What a boot state with PAE paging can be told (Intel SDM Vol. 3A, 4.4). All of it has defaults. */
export interface PaeLayout extends ProtectedLayout, PagingLayout<"4K" | "2M"> {}

/**
 * The state of a CPU that starts in 32-bit protected mode without paging, at CPL 0 unless told otherwise,
 * interrupts off, with flat segments of 4 GiB and a GDT, a TSS and an IDT in memory (Intel SDM Vol. 3A, 9.9.1).
 *
 * - CR0: PE; ET and NE, which VMX fixes to 1.
 * - CR4: OSFXSR and OSXMMEXCPT, so that SSE instructions work.
 *
 * @param layout What differs from the defaults; addresses are guest-physical.
 * @throws {RangeError} When tables do not fit the memory or lie on each other (both are named), a gate cannot be,
 *   or `entry` or `stack` has more than 32 bits.
 * @example
 * ```ts
 * import { protectedMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { cr0, cs } = protectedMode().specialRegisters;
 * assertEquals([cr0, cs.db, cs.limit], [0x31n, 1, 0xffff_ffff]);
 * ```
 */
export function protectedMode(layout: ProtectedLayout = {}): CpuState {
  return protectedState("protected", layout);
}

/**
 * {@linkcode protectedMode} with 32-bit paging: 4 MiB pages, 4 KiB pages, or both. CR0 has PG and WP too, and CR4
 * PSE where there are 4 MiB pages.
 *
 * @param layout What differs from the defaults; addresses are guest-physical.
 * @throws {RangeError} As {@linkcode protectedMode} does, or when a mapping cannot be.
 * @example
 * ```ts
 * import { pagedMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(pagedMode().specialRegisters.cr4, 0x610n);
 * assertEquals(pagedMode({ identityMap: "4K" }).specialRegisters.cr4, 0x600n);
 * ```
 */
export function pagedMode(layout: PagedLayout = {}): CpuState {
  const tables = layoutPageTables(layout, { paging: "32-bit", ...common(layout) });
  return protectedState("paged", layout, tables);
}

/**
 * {@linkcode protectedMode} with PAE paging. CR0 has PG and WP too, CR4 PAE, and EFER NXE, so that no-execute pages
 * can be had.
 *
 * @param layout What differs from the defaults; addresses are guest-physical.
 * @throws {RangeError} As {@linkcode protectedMode} does, or when a mapping cannot be.
 * @example
 * ```ts
 * import { paeMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { cr4, efer } = paeMode().specialRegisters;
 * assertEquals([cr4, efer], [0x620n, 0x800n]);
 * ```
 */
export function paeMode(layout: PaeLayout = {}): CpuState {
  const tables = layoutPageTables(layout, { paging: "PAE", ...common(layout) });
  return protectedState("pae", layout, tables);
}

function common({ cpl, memorySize = PROTECTED_MODE.memorySize }: ProtectedLayout) {
  return { user: cpl === 3, memorySize };
}

function protectedState(
  mode: Mode & ("protected" | "paged" | "pae"),
  layout: ProtectedLayout,
  pageTables?: PageTables,
): CpuState {
  const { memorySize = PROTECTED_MODE.memorySize, cpl = 0, ioPermission = true } = layout;
  const paging = pageTables !== undefined;
  const pae = mode === "pae";
  const tables = descriptorTables(layout, { bits: 32, cpl, opensPorts: cpl === 3 && ioPermission });
  const writes = checkWrites([...pageTables?.writes ?? [], ...tables.writes], memorySize);
  return withCatcherMapped({
    mode,
    registers: {
      rip: offsetOf("entry", layout.entry ?? PROTECTED_MODE.code, 32),
      rsp: offsetOf("stack", layout.stack ?? PROTECTED_MODE.stackTop, 32),
      rflags: RFLAGS_ALWAYS_SET,
    },
    specialRegisters: specialRegisters(tables.registers, {
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true, wp: paging, pg: paging }),
      cr3: pageTables?.cr3,
      cr4: flagsToValue(cr4Flags, {
        pse: !pae && pageTables?.pageSizes.has("4M"),
        pae,
        osfxsr: true,
        osxmmexcpt: true,
      }),
      efer: flagsToValue(eferFlags, { nxe: pae }),
    }),
    writes,
    ...tables.faultCatcher && { faultCatcher: tables.faultCatcher },
  });
}

/**
 * What a boot state of 16-bit protected mode can be told (Intel SDM Vol. 3A, 3.4.5 and 9.9.1). All of it has
 * defaults.
 */
export interface Protected16Layout extends ProtectionLayout {
  /** Address of the first instruction, in the first 64 KiB. Default 0x8000. */
  entry?: number;
  /** Initial SP. Default 0x8000. */
  stack?: number;
}

/**
 * The state of a CPU that starts in 16-bit protected mode at CPL 0, interrupts off: as on the 80286, segments
 * have 64 KiB, from address 0 on, and gates are of 16 bits. GDT, TSS and IDT are in memory (Intel SDM Vol. 3A,
 * 3.4.5).
 *
 * @param layout What differs from the defaults; addresses are guest-physical.
 * @throws {RangeError} When tables do not fit the memory or lie on each other (both are named), a gate cannot be,
 *   or `entry` or `stack` has more than 16 bits.
 * @example
 * ```ts
 * import { protected16Mode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { cr0, cs } = protected16Mode().specialRegisters;
 * assertEquals([cr0, cs.db, cs.limit], [0x31n, 0, 0xffff]);
 * ```
 */
export function protected16Mode(layout: Protected16Layout = {}): CpuState {
  const { memorySize = LOW_PROTECTED_MODE.memorySize } = layout;
  const tables = descriptorTables(layout, { bits: 16, cpl: 0, opensPorts: false });
  return {
    mode: "protected16",
    registers: {
      rip: offsetOf("entry", layout.entry ?? LOW_PROTECTED_MODE.code, 16),
      rsp: offsetOf("stack", layout.stack ?? LOW_PROTECTED_MODE.stackTop, 16),
      rflags: RFLAGS_ALWAYS_SET,
    },
    specialRegisters: specialRegisters(tables.registers, {
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true }),
    }),
    writes: checkWrites(tables.writes, memorySize),
    ...tables.faultCatcher && { faultCatcher: tables.faultCatcher },
  };
}
