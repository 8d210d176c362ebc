import { hex } from "../hex.ts";
import { MSRS } from "./msrs.ts";
import { noneOfThatName } from "../nearest_names.ts";

/** The names that an MSR has in the manuals, of both vendors (Intel SDM Vol. 4; AMD APM Vol. 2, Appendix A). */
export type MsrName = keyof typeof MSRS | keyof typeof MSR_ALIASES | MsrFamilyName;

/** An MSR, by its name or by its number (Intel SDM Vol. 4, 2.1; AMD APM Vol. 2, Appendix A). */
export type Msr = MsrName | number;

/** Values by MSR: `{ LSTAR: 0xffff_8000_0000_1000n, 0xc0000084: 0x200 }`. A string is a label of the guest. */
export type MsrValues = { readonly [Name in Msr]?: number | bigint | string };

const LAST_MSR = 0xffff_ffff;
const DECIMAL = /^(0|[1-9]\d*)$/;

/** Made when first asked for, and kept: names by number, and numbers by name. */
let names: ReadonlyMap<number, string> | undefined;
let numbers: ReadonlyMap<string, number> | undefined;

function rows(): [name: string, number: number][] {
  return Object.entries(MSR_FAMILIES).flatMap(([row, { base, stride, count }]) =>
    Array.from(
      { length: count },
      (_, n): [string, number] => [row.replace("#", String(n)), base + n * stride],
    )
  );
}

function numbersByName(): ReadonlyMap<string, number> {
  return numbers ??= new Map([
    ...Object.entries(MSRS),
    ...rows(),
    ...Object.entries(MSR_ALIASES).map(([alias, name]): [string, number] => [alias, MSRS[name]]),
  ]);
}

/**
 * The number of an MSR.
 *
 * @param msr Its name; its number; or, as keys of objects are, its number as decimal text.
 * @throws {RangeError} When no MSR has that name, or it is not a number of 32 bits.
 * @throws {TypeError} When it is neither name nor number.
 *
 * @example
 * ```ts
 * import { msrNumber } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(msrNumber("LSTAR"), 0xc0000082);
 * assertEquals(msrNumber("IA32_MC1_STATUS"), 0x405);
 * ```
 */
export function msrNumber(msr: Msr): number {
  if (typeof msr !== "string" && typeof msr !== "number") {
    throw new TypeError(
      `Cannot find an MSR that is ${
        String(msr)
      }, a value of type ${typeof msr}: give its name, or its number`,
    );
  }
  const number = typeof msr === "string" && DECIMAL.test(msr) ? Number(msr) : msr;
  if (typeof number === "number") {
    if (Number.isInteger(number) && number >= 0 && number <= LAST_MSR) return number;
    throw new RangeError(
      `Cannot use ${String(msr)} as the number of an MSR: it is not a whole number of 32 bits`,
    );
  }
  const found = numbersByName().get(number);
  if (found !== undefined) return found;
  const why = noneOfThatName(String(msr).toUpperCase(), numbersByName().keys());
  throw new RangeError(
    `Cannot find an MSR "${String(msr)}": ${why}. One that has no name here goes by its number.`,
  );
}

/**
 * The name of an MSR, or undefined where its number has none here. One that KVM and both vendors know has the
 * name that {@linkcode MSRS} has.
 *
 * @param number What ECX holds at RDMSR, 32 bits.
 * @example
 * ```ts
 * import { msrName } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(msrName(0xc0000082), "LSTAR");
 * assertEquals(msrName(0x12345), undefined);
 * ```
 */
export function msrName(number: number): string | undefined {
  names ??= new Map(
    [...rows(), ...Object.entries(MSRS)].map(([name, value]) => [value, name]),
  );
  return names.get(number);
}

/**
 * An MSR as texts show it: `0xc0000082 LSTAR`, or its number alone.
 *
 * @param number What ECX holds at RDMSR, 32 bits.
 */
export function msrText(number: number): string {
  const name = msrName(number);
  return name === undefined ? hex(number) : `${hex(number)} ${name}`;
}

/**
 * MSRs that come in a row, each with a number in its name: `#` stands for it. Register `n` has the number
 * `base + n × stride` (Intel SDM Vol. 4; AMD APM Vol. 2 Appendix A; Hyper-V's specification, Appendix C).
 */
export const MSR_FAMILIES = {
  "IA32_MTRR_PHYSBASE#": { base: 0x200, stride: 2, count: 10 },
  "IA32_MTRR_PHYSMASK#": { base: 0x201, stride: 2, count: 10 },
  "IA32_MC#_CTL": { base: 0x400, stride: 4, count: 32 },
  "IA32_MC#_STATUS": { base: 0x401, stride: 4, count: 32 },
  "IA32_MC#_ADDR": { base: 0x402, stride: 4, count: 32 },
  "IA32_MC#_MISC": { base: 0x403, stride: 4, count: 32 },
  "IA32_MC#_CTL2": { base: 0x280, stride: 1, count: 32 },
  "IA32_PMC#": { base: 0xc1, stride: 1, count: 8 },
  "IA32_A_PMC#": { base: 0x4c1, stride: 1, count: 8 },
  "IA32_PERFEVTSEL#": { base: 0x186, stride: 1, count: 8 },
  "IA32_FIXED_CTR#": { base: 0x309, stride: 1, count: 4 },
  "IA32_X2APIC_ISR#": { base: 0x810, stride: 1, count: 8 },
  "IA32_X2APIC_TMR#": { base: 0x818, stride: 1, count: 8 },
  "IA32_X2APIC_IRR#": { base: 0x820, stride: 1, count: 8 },
  "IA32_RTIT_ADDR#_A": { base: 0x580, stride: 2, count: 4 },
  "IA32_RTIT_ADDR#_B": { base: 0x581, stride: 2, count: 4 },
  "PERF_LEGACY_CTL#": { base: 0xc0010000, stride: 1, count: 4 },
  "PERF_LEGACY_CTR#": { base: 0xc0010004, stride: 1, count: 4 },
  "PSTATE#": { base: 0xc0010064, stride: 1, count: 8 },
  "PERF_CTL#": { base: 0xc0010200, stride: 2, count: 6 },
  "PERF_CTR#": { base: 0xc0010201, stride: 2, count: 6 },
  "NB_PERF_CTL#": { base: 0xc0010240, stride: 2, count: 4 },
  "NB_PERF_CTR#": { base: 0xc0010241, stride: 2, count: 4 },
  "HV_X64_MSR_SINT#": { base: 0x40000090, stride: 1, count: 16 },
  "HV_X64_MSR_STIMER#_CONFIG": { base: 0x400000b0, stride: 2, count: 4 },
  "HV_X64_MSR_STIMER#_COUNT": { base: 0x400000b1, stride: 2, count: 4 },
  "HV_X64_MSR_CRASH_P#": { base: 0x40000100, stride: 1, count: 5 },
} as const;

/** The name of a register of a row: `"IA32_MC#_CTL"` makes `"IA32_MC0_CTL"` and all others (Intel SDM Vol. 4, 2.1). */
export type MsrFamilyName = {
  [Row in keyof typeof MSR_FAMILIES]: Row extends `${infer Head}#${infer Tail}`
    ? `${Head}${number}${Tail}`
    : never;
}[keyof typeof MSR_FAMILIES];

/** The same MSR by the name of the other vendor, or of the kernel's `msr-index.h`. */
export const MSR_ALIASES = {
  IA32_EFER: "EFER",
  IA32_STAR: "STAR",
  IA32_LSTAR: "LSTAR",
  IA32_CSTAR: "CSTAR",
  IA32_FMASK: "SYSCALL_MASK",
  SFMASK: "SYSCALL_MASK",
  FMASK: "SYSCALL_MASK",
  IA32_FS_BASE: "FS_BASE",
  IA32_GS_BASE: "GS_BASE",
  IA32_KERNEL_GS_BASE: "KERNEL_GS_BASE",
  IA32_TSC_AUX: "TSC_AUX",
  TSC: "IA32_TSC",
  TSC_ADJUST: "IA32_TSC_ADJUST",
  TSC_DEADLINE: "IA32_TSC_DEADLINE",
  SYSENTER_CS: "IA32_SYSENTER_CS",
  SYSENTER_ESP: "IA32_SYSENTER_ESP",
  SYSENTER_EIP: "IA32_SYSENTER_EIP",
  APIC_BASE: "IA32_APIC_BASE",
  IA32_APICBASE: "IA32_APIC_BASE",
  PAT: "IA32_PAT",
  IA32_CR_PAT: "IA32_PAT",
  IA32_FEAT_CTL: "IA32_FEATURE_CONTROL",
  SPEC_CTRL: "IA32_SPEC_CTRL",
  PRED_CMD: "IA32_PRED_CMD",
  ARCH_CAPABILITIES: "IA32_ARCH_CAPABILITIES",
  MISC_ENABLE: "IA32_MISC_ENABLE",
  DEBUGCTL: "IA32_DEBUGCTL",
  DEBUG_CTL: "IA32_DEBUGCTL",
  IA32_DEBUGCTLMSR: "IA32_DEBUGCTL",
  XSS: "IA32_XSS",
  MTRRCAP: "IA32_MTRRCAP",
  MTRRcap: "IA32_MTRRCAP",
  MTRR_DEF_TYPE: "IA32_MTRR_DEF_TYPE",
  MTRRdefType: "IA32_MTRR_DEF_TYPE",
  MCG_CAP: "IA32_MCG_CAP",
  MCG_STATUS: "IA32_MCG_STATUS",
  MCG_CTL: "IA32_MCG_CTL",
  MPERF: "IA32_MPERF",
  APERF: "IA32_APERF",
  IA32_UCODE_REV: "IA32_BIOS_SIGN_ID",
  PATCH_LEVEL: "IA32_BIOS_SIGN_ID",
  IA32_PERF_GLOBAL_STATUS_RESET: "IA32_PERF_GLOBAL_OVF_CTRL",
  VM_HSAVE: "VM_HSAVE_PA",
  K7_HWCR: "HWCR",
} as const;
