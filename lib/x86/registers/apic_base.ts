import { apicBaseFlags } from "./flag_tables.ts";
import { flagsToValue } from "./flags.ts";

/** Bits of IA32_APIC_BASE (Intel SDM Vol. 3A, 11.4.4). */
export const APIC_BASE_BIT = {
  /** It is the processor that boots. */
  BOOT_PROCESSOR: flagsToValue(apicBaseFlags, { bsp: true }),
  /** The local APIC is there: CPUID's bit follows it. */
  ENABLED: flagsToValue(apicBaseFlags, { en: true }),
} as const;
