import { cr0Flags } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import type { MemoryWrite } from "../../placement.ts";
import type { CpuState, GeneralRegisters } from "../cpu_state.ts";
import { protectedMode } from "../modes/protected.ts";

/** The limit of a TSS of 32 bits: its last byte. */
const TASK_LIMIT = 0x67;

/**
 * The state in which boot loaders enter 32-bit kernels: flat segments at CPL 0, paging and interrupts off. What the
 * protocols leave undefined is as useless as it can be: there is no GDT, so that a kernel which loads a segment register
 * before it has one of its own faults, no IDT, and no stack.
 *
 * @param entry Physical address of the first instruction.
 * @param registers What the protocol has in general registers; all others are zero.
 */
export function kernelEntry(
  entry: number,
  registers: Partial<GeneralRegisters>,
  writes: MemoryWrite[],
): CpuState {
  const state = protectedMode({ entry, stack: 0, gdt: false, idt: false, tss: false });
  const { specialRegisters } = state;
  return {
    ...state,
    registers: { ...state.registers, ...registers },
    specialRegisters: {
      ...specialRegisters,
      tr: { ...specialRegisters.tr, limit: TASK_LIMIT },
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true }),
      cr4: 0n,
    },
    writes,
  };
}
