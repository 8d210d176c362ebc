import {
  isCanonical,
  LINEAR_ADDRESS_BITS,
  LINEAR_ADDRESS_BITS_5_LEVEL,
} from "../../paging/canonical.ts";
import type { CpuState, Mode } from "../cpu_state.ts";
import { hex } from "../../hex.ts";
import { PROTECTED_MODE } from "../../layout.ts";
import { cr0Flags, cr4Flags, eferFlags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { withCatcherMapped } from "./fault_catcher.ts";
import { checkWrites } from "../../placement.ts";
import { offsetOf, specialRegisters } from "./common.ts";
import { descriptorTables, type PrivilegeLayout } from "./descriptor_tables.ts";
import { layoutPageTables, type PagingLayout } from "./paging_layout.ts";

/** What a long-mode boot state can be told (Intel SDM Vol. 3A, 9.8.5; AMD APM Vol. 2, 14.6). All of it has defaults. */
export interface LongLayout extends Ia32eLayout {
  /** Linear address of the first instruction. Default 0x10000. */
  entry?: number | bigint;
  /** Initial RSP, a linear address. Default 0x10000. */
  stack?: number | bigint;
}

/**
 * The state of a CPU that starts in 64-bit mode, at CPL 0 unless told otherwise, interrupts off, with everything
 * that the mode needs in memory: page tables, GDT, IDT, TSS (Intel SDM Vol. 3A, 9.8.5).
 *
 * - CR0: PE, PG; ET and NE, which VMX fixes to 1; WP, so that read-only pages bind CPL 0 too.
 * - CR4: PAE; OSFXSR and OSXMMEXCPT, so that SSE instructions work; LA57 with 5 levels.
 * - EFER: LME, LMA; NXE, so that no-execute pages can be had. SYSCALL stays off until the guest asks for it.
 *
 * @param layout What differs from the defaults; addresses are guest-physical.
 * @throws {RangeError} When a mapping cannot be, tables do not fit the memory or lie on each other (both are
 *   named), a gate cannot be, or `entry` or `stack` is not canonical.
 * @example
 * ```ts
 * import { longMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { specialRegisters, writes } = longMode({ mappings: [{ linear: 0, size: 0x1000, present: false }] });
 * assertEquals(specialRegisters.cr3, 0x1000n);
 * assertEquals(writes.map(({ what }) => what).slice(-3), ["GDT", "TSS", "IDT"]);
 * ```
 */
export function longMode(layout: LongLayout = {}): CpuState {
  const { entry = PROTECTED_MODE.code, stack = PROTECTED_MODE.stackTop, levels = 4 } = layout;
  return ia32eState(layout, {
    mode: "long",
    codeBits: 64,
    rip: linearAddress("entry", entry, levels),
    rsp: linearAddress("stack", stack, levels),
  });
}

function linearAddress(name: string, value: number | bigint, levels: 4 | 5): bigint {
  const bits = levels === 5 ? LINEAR_ADDRESS_BITS_5_LEVEL : LINEAR_ADDRESS_BITS;
  const exact = typeof value === "bigint" || Number.isSafeInteger(value);
  if (exact && value >= 0 && isCanonical(BigInt(value), bits)) return BigInt(value);
  const half = 1n << BigInt(bits - 1);
  throw new RangeError(
    `Cannot set ${name} as ${
      exact ? hex(value) : value
    }: it is not a canonical linear address; stay below ${hex(half)} or at and above ${
      hex((1n << 64n) - half)
    }`,
  );
}

/** What a boot state of long mode can be told, whatever its code (Intel SDM Vol. 3A, 9.8.5; AMD APM Vol. 2, 14.6). */
export interface Ia32eLayout extends PrivilegeLayout, PagingLayout<"4K" | "2M" | "1G"> {
  /** Levels of page tables. With 5, which not every CPU has, linear addresses have 57 bits. Default 4. */
  levels?: 4 | 5;
}

/** What tells 64-bit mode and compatibility mode apart. */
interface Ia32eStart {
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
function ia32eState(layout: Ia32eLayout, start: Ia32eStart): CpuState {
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

/**
 * What a boot state of compatibility mode can be told (Intel SDM Vol. 3A, 5.2.1; AMD APM Vol. 2, 14.6). All of it has
 * defaults.
 */
export interface CompatibilityLayout extends Ia32eLayout {
  /** Address of the first instruction. Default 0x10000. */
  entry?: number;
  /** Initial ESP. Default 0x10000. */
  stack?: number;
}

/**
 * The state of a CPU that starts in compatibility mode: 32-bit code with flat segments in long mode. All else is
 * as in {@linkcode longMode}; handlers of interrupts are 64-bit code, and so is what lies behind a far jump to
 * selector 8.
 *
 * @param layout What differs from the defaults; addresses are guest-physical.
 * @throws {RangeError} As {@linkcode longMode} does, or when `entry` or `stack` has more than 32 bits.
 * @example
 * ```ts
 * import { compatibilityMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { cs, efer } = compatibilityMode().specialRegisters;
 * assertEquals([cs.l, cs.db, efer], [0, 1, 0xd00n]);
 * ```
 */
export function compatibilityMode(layout: CompatibilityLayout = {}): CpuState {
  return ia32eState(layout, {
    mode: "compatibility",
    codeBits: 32,
    rip: offsetOf("entry", layout.entry ?? PROTECTED_MODE.code, 32),
    rsp: offsetOf("stack", layout.stack ?? PROTECTED_MODE.stackTop, 32),
  });
}
