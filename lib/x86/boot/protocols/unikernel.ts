import type { CpuState } from "../cpu_state.ts";
import { cr0Flags, cr4Flags, eferFlags } from "../../registers/flag_tables.ts";
import { flagsToValue } from "../../registers/flags.ts";
import { PROTECTED_MODE } from "../../layout.ts";
import { type LongLayout, longMode } from "../modes/long.ts";

/**
 * What the unikernel convention can be told beside what long mode can. Its registers are arguments of a C function
 * (System V ABI, AMD64 Architecture Processor Supplement, 3.2.3).
 */
export interface UnikernelLayout extends LongLayout {
  /** What RDI points to: the boot information. Nothing is written there. Default 0x500. */
  bootInformation?: number | bigint;
  /** The CPU's number, in RSI. Default 0. */
  cpuNumber?: number;
}

/**
 * The state in which a hypervisor made for unikernels enters one: {@linkcode longMode}, with RDI on the boot
 * information and RSI the number of the CPU, as the first two arguments of a C function. CR0 has PE, ET, NE and PG, CR4
 * has PAE, EFER has LME, LMA and NXE; the kernel sets the rest itself.
 *
 * @param layout Where the kernel's parts lie, as guest-physical addresses.
 * @throws {RangeError} As {@linkcode longMode} does, or when the number of the CPU is none.
 * @example
 * ```ts
 * import { unikernelEntry } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const { registers, specialRegisters } = unikernelEntry({ cpuNumber: 1 });
 * assertEquals([registers.rdi, registers.rsi], [0x500n, 1n]);
 * assertEquals([specialRegisters.cr0, specialRegisters.efer], [0x8000_0031n, 0xd00n]);
 * ```
 */
export function unikernelEntry(layout: UnikernelLayout = {}): CpuState {
  const { bootInformation = PROTECTED_MODE.bootInformation, cpuNumber = 0, levels } = layout;
  if (!Number.isSafeInteger(cpuNumber) || cpuNumber < 0) {
    throw new RangeError(
      `Cannot start CPU ${cpuNumber}: the number of a CPU is a whole number from 0 on`,
    );
  }
  const isAddress = typeof bootInformation === "bigint" || Number.isSafeInteger(bootInformation);
  if (!isAddress || BigInt.asUintN(64, BigInt(bootInformation)) !== BigInt(bootInformation)) {
    throw new RangeError(
      `Cannot pass boot information at ${bootInformation}: it is not a whole number of 64 bits`,
    );
  }
  const state = longMode(layout);
  return {
    ...state,
    registers: { ...state.registers, rdi: BigInt(bootInformation), rsi: BigInt(cpuNumber) },
    specialRegisters: {
      ...state.specialRegisters,
      cr0: flagsToValue(cr0Flags, { pe: true, et: true, ne: true, pg: true }),
      cr4: flagsToValue(cr4Flags, { pae: true, la57: levels === 5 }),
      efer: flagsToValue(eferFlags, { lme: true, lma: true, nxe: true }),
    },
  };
}
