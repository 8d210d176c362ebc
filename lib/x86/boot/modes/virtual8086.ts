import type { CpuState } from "../cpu_state.ts";
import { cr0Flags, rflagsFlags } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { LOW_PROTECTED_MODE } from "../../layout.ts";
import { checkWrites } from "../../placement.ts";
import { SEGMENT_TYPE } from "../../registers/segment.ts";
import { specialRegisters } from "./common.ts";
import { descriptorTables, type PrivilegeLayout } from "./descriptor_tables.ts";
import { type RealLayout, realMode } from "./real.ts";

/** What a boot state of virtual-8086 mode can be told (Intel SDM Vol. 3B, 20.2). All of it has defaults. */
export interface Virtual8086Layout
  extends Omit<RealLayout, "gates" | "catchFaults">, Omit<PrivilegeLayout, "cpl"> {
  /** Bytes of memory from address 0 on, in which tables must fit. Default 1 MiB. */
  memorySize?: number;
}

const PRIVILEGE = 3;

/**
 * The state of a CPU that starts in virtual-8086 mode: 16-bit code with real mode's segments, at CPL 3 of
 * 32-bit protected mode without paging. RFLAGS has VM, and IOPL 3, so that CLI, STI, PUSHF, POPF, INT and IRET work
 * as they stand; the TSS opens the ports. `INT` enters the IDT of protected mode: `gates` are the monitor, which is
 * 32-bit code at CPL 0; without one of its own, `int 0x80` enters a handler that executes HLT and returns (Intel SDM
 * Vol. 3B, 20.2).
 *
 * @param layout What differs from the defaults: selectors and offsets of 16 bits.
 * @throws {RangeError} When a selector, IP or SP has more than 16 bits, the entry is out of reach, a gate cannot be,
 *   or tables do not fit the memory or lie on each other (both are named).
 * @example
 * ```ts
 * import { virtual8086Mode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { registers, specialRegisters } = virtual8086Mode({ cs: 0x1000, ip: 0 });
 * assertEquals([registers.rflags, specialRegisters.cs.base], [0x2_3002n, 0x1_0000n]);
 * ```
 */
export function virtual8086Mode(layout: Virtual8086Layout = {}): CpuState {
  const { memorySize = LOW_PROTECTED_MODE.memorySize, ioPermission = true } = layout;
  const tables = descriptorTables(layout, {
    bits: 32,
    cpl: PRIVILEGE,
    opensPorts: ioPermission,
    taskWithPorts: LOW_PROTECTED_MODE.taskStateSegmentWithPorts,
  });
  const real = realMode({
    ...layout,
    gates: {},
    catchFaults: false,
    memorySize,
    entry: layout.entry ?? LOW_PROTECTED_MODE.code,
    sp: layout.sp ?? LOW_PROTECTED_MODE.stackTop,
  });
  const segments = { ...tables.registers };
  for (const name of ["cs", "ds", "es", "fs", "gs", "ss"] as const) {
    segments[name] = {
      ...real.specialRegisters[name],
      type: SEGMENT_TYPE.readWriteDataAccessed,
      dpl: PRIVILEGE,
    };
  }
  const { rflags, ...registers } = real.registers;
  return {
    mode: "virtual8086",
    registers: {
      ...registers,
      rflags: rflags! | flagsToValue(rflagsFlags, { vm: true, iopl: PRIVILEGE }),
    },
    specialRegisters: specialRegisters(segments, {
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true }),
    }),
    writes: checkWrites(tables.writes, memorySize),
    ...tables.faultCatcher && { faultCatcher: tables.faultCatcher },
  };
}
