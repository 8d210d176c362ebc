import type { CpuState } from "../cpu_state.ts";
import { cr0Flags, RFLAGS_ALWAYS_SET } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { LOW_PROTECTED_MODE } from "../../layout.ts";
import { checkWrites } from "../../placement.ts";
import { offsetOf, specialRegisters } from "./common.ts";
import { descriptorTables } from "./descriptor_tables.ts";
import type { ProtectionLayout } from "./protection_layout.ts";

/** What a boot state of 16-bit protected mode can be told. All of it has defaults. */
export interface Protected16Layout extends ProtectionLayout {
  /** Address of the first instruction, in the first 64 KiB. Default 0x8000. */
  entry?: number;
  /** Initial SP. Default 0x8000. */
  stack?: number;
}

/**
 * The state of a CPU that starts in 16-bit protected mode at CPL 0, interrupts off: as on the 80286, segments
 * have 64 KiB, from address 0 on, and gates are of 16 bits. GDT, TSS and IDT are in memory.
 *
 * @throws {RangeError} When tables do not fit the memory or lie on each other (both are named), a gate cannot be,
 *   or `entry` or `stack` has more than 16 bits.
 * @example
 * ```ts
 * import { protected16Mode } from "./protected16.ts";
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
