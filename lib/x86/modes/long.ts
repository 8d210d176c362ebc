import { isCanonical } from "../canonical.ts";
import type { CpuState } from "../cpu_state.ts";
import { apicBaseFlags, cr0Flags, cr4Flags, eferFlags, RFLAGS_ALWAYS_SET } from "../flag_tables.ts";
import { flagsToValue } from "../flags.ts";
import { hex } from "../hex.ts";
import { LOCAL_APIC, LONG_MODE } from "../layout.ts";
import type { PageMapping, PageSizeName } from "../page_mapping.ts";
import { buildPageTables, type PageTables, type TableArea } from "../page_tables.ts";
import { checkPlacements } from "../placement.ts";
import { noInterrupts } from "./common.ts";
import { descriptorTables } from "./descriptor_tables.ts";
import { identityMap } from "./identity_map.ts";

/** What a long-mode boot state can be told. All of it has defaults. */
export interface LongLayout {
  /** Bytes of memory from address 0 on, in which tables must fit. Default 2 MiB. */
  memorySize?: number;
  /** Linear address of the first instruction. Default 0x10000. */
  entry?: number | bigint;
  /** Initial RSP, a linear address. Default 0x10000. */
  stack?: number | bigint;
  /**
   * Where page tables go: from an address up to the end of the memory, or in an area with its own end. By
   * default four at 0x1000, and five more from 0x7000 where four are too few.
   */
  pageTables?: number | TableArea;
  /**
   * Pages of the map of the first GiB onto itself, or false for none. Default `"2M"`; `"4K"` has 4 KiB
   * pages in the first 2 MiB and 2 MiB pages in the rest.
   */
  identityMap?: PageSizeName | false;
  /** Further mappings. Where one of them lies, the identity map has no say: one can cut holes into it. */
  mappings?: readonly PageMapping[];
  /**
   * Address of the GDT, or false for none: then nothing is written, GDTR has limit 0, and segments are
   * there only in the hidden part of their registers; a guest must not load them anew. Default 0x5000.
   */
  gdt?: number | false;
  /** Address of the IDT, 256 absent gates, or false for none (limit 0). Default 0x6000. */
  idt?: number | false;
  /** Address of the TSS, or false for none (limit 0). Default 0x5100. */
  tss?: number | false;
}

/**
 * The state of a CPU that starts in 64-bit mode at CPL 0, interrupts off, with everything that the mode needs
 * in memory: page tables, GDT, IDT, TSS.
 *
 * - CR0: PE, PG; ET and NE, which VMX fixes to 1; WP, so that read-only pages bind this guest too.
 * - CR4: PAE; OSFXSR and OSXMMEXCPT, so that SSE instructions work.
 * - EFER: LME, LMA; NXE, so that no-execute pages can be had. SYSCALL stays off until the guest asks for it.
 *
 * @throws {RangeError} When a mapping cannot be, tables do not fit the memory or lie on each other (both are
 *   named), or `entry` or `stack` is not canonical.
 * @example
 * ```ts
 * import { longMode } from "./long.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { specialRegisters, writes } = longMode({ mappings: [{ linear: 0, size: 0x1000, present: false }] });
 * assertEquals(specialRegisters.cr3, 0x1000n);
 * assertEquals(writes.map(({ what }) => what).slice(-3), ["GDT", "TSS", "IDT"]);
 * ```
 */
export function longMode(layout: LongLayout = {}): CpuState {
  const { memorySize = LONG_MODE.memorySize, entry = LONG_MODE.code, stack = LONG_MODE.stackTop } =
    layout;
  const tables = descriptorTables(layout);
  const { cr3, writes: pageTables } = longPageTables(layout, memorySize);
  const writes = [...pageTables, ...tables.writes];
  checkPlacements(
    writes.map(({ what, gpa, bytes }) => ({ what, gpa, size: bytes.length })),
    memorySize,
  );
  return {
    mode: "long",
    registers: {
      rip: linearAddress("entry", entry),
      rsp: linearAddress("stack", stack),
      rflags: RFLAGS_ALWAYS_SET,
    },
    specialRegisters: {
      ...tables.registers,
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true, wp: true, pg: true }),
      cr2: 0n,
      cr3,
      cr4: flagsToValue(cr4Flags, { pae: true, osfxsr: true, osxmmexcpt: true }),
      cr8: 0n,
      efer: flagsToValue(eferFlags, { lme: true, lma: true, nxe: true }),
      apic_base: BigInt(LOCAL_APIC) | flagsToValue(apicBaseFlags, { bsp: true, en: true }),
      interrupt_bitmap: noInterrupts(),
    },
    writes,
  };
}

function longPageTables(layout: LongLayout, memorySize: number): PageTables {
  const { pageTables, identityMap: pageSize = "2M", mappings = [] } = layout;
  const identity = pageSize === false ? [] : identityMap(pageSize, mappings);
  return buildPageTables({
    areas: tableAreas(pageTables, memorySize),
    mappings: [...identity, ...mappings],
  });
}

function tableAreas(pageTables: LongLayout["pageTables"], memorySize: number): TableArea[] {
  if (typeof pageTables === "number") return [{ start: pageTables, end: memorySize }];
  if (pageTables !== undefined) return [pageTables];
  return [
    { start: LONG_MODE.pageTables, end: LONG_MODE.pageTablesEnd },
    { start: LONG_MODE.morePageTables, end: LONG_MODE.morePageTablesEnd },
  ];
}

function linearAddress(name: string, value: number | bigint): bigint {
  const exact = typeof value === "bigint" || Number.isSafeInteger(value);
  if (exact && value >= 0 && isCanonical(BigInt(value))) return BigInt(value);
  throw new RangeError(
    `Cannot set ${name} as ${
      exact ? hex(value) : value
    }: it is not a canonical linear address; stay below 0x800000000000 or at and above 0xffff800000000000`,
  );
}
