import type { Kvm } from "../../kvm/kvm.ts";
import { MsrError } from "../../kvm/errors.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { CpuidEntry } from "../../x86/cpuid/cpuid.ts";
import { MSRS } from "../../x86/msrs/msrs.ts";

/** The MTRRs (Intel SDM Vol. 3A, 12.11), which kernels before 6.5 do not list. */
const VARIABLE_MTRRS = { first: 0x200, count: 16 };
const MTRRS: readonly number[] = [
  ...row(VARIABLE_MTRRS.first, VARIABLE_MTRRS.count),
  ...Object.entries(MSRS).filter(([name]) => /^IA32_MTRR_(FIX|DEF_TYPE)/.test(name))
    .map(([, index]) => index),
];

/** Others that hold what a guest writes to them, and that no kernel lists (`svm_get_msr` in arch/x86/kvm/svm/svm.c). */
const UNLISTED: readonly number[] = [MSRS.VM_CR, MSRS.DE_CFG, MSRS.IA32_DEBUGCTL];

/** The registers of machine-check banks, four each (Intel SDM Vol. 3B, 16.3.2), which no kernel lists. */
const MACHINE_CHECK_BANKS = 0x400;
const REGISTERS_PER_BANK = 4;
const BANK_COUNT = 0xffn;
/** How many KVM has at most (`KVM_MAX_MCE_BANKS`). */
const MOST_BANKS = 32;

/** How many performance counters KVM knows at most: Intel's, AMD's first ones, AMD's. */
const INTEL_COUNTERS = 8;
const K7_COUNTERS = 4;
const AMD_COUNTERS = 6;

/** Numbers in a row. */
function row(first: number, count: number, step = 1): number[] {
  return Array.from({ length: count }, (_, index) => first + index * step);
}

/** The range that Hyper-V's MSRs have (TLFS 5.0, appendix F): where CPUID does not offer them, no guest has them. */
const HYPERV = { first: 0x4000_0000, last: 0x4000_1fff };
const HYPERV_LEAF = 0x4000_0001;
/** `"Hv#1"`, in EAX there. */
const HYPERV_SIGNATURE = 0x3123_7648;

/** Two MSRs that ask for something, and hold nothing: KVM writes the time into guest memory. */
const WALL_CLOCKS: readonly number[] = [MSRS.KVM_WALL_CLOCK, MSRS.KVM_WALL_CLOCK_NEW];

/** Whether CPUID offers Hyper-V's MSRs. */
export function offersHyperv(cpuid: readonly CpuidEntry[]): boolean {
  return cpuid.some((entry) => entry.function === HYPERV_LEAF && entry.eax === HYPERV_SIGNATURE);
}

/**
 * What KVM keeps of each guest in memory of its own, and lets none reach of the processor's. Not here are those that it
 * passes through (`vmx_possible_passthrough_msrs`, `direct_access_msrs` in svm/svm.c), or that do something when they are set.
 */
const KEPT_BY_KVM: ReadonlySet<number> = new Set([
  ...MTRRS,
  ...row(MACHINE_CHECK_BANKS, MOST_BANKS * REGISTERS_PER_BANK),
  MSRS.IA32_MCG_STATUS,
  MSRS.IA32_MCG_CTL,
  MSRS.IA32_MCG_EXT_CTL,
  MSRS.IA32_FEATURE_CONTROL,
  MSRS.IA32_TSC_ADJUST,
  MSRS.IA32_ARCH_CAPABILITIES,
  MSRS.IA32_PERF_CAPABILITIES,
  MSRS.IA32_MISC_ENABLE,
  MSRS.IA32_SMBASE,
  MSRS.IA32_BIOS_SIGN_ID,
  MSRS.SMI_COUNT,
  MSRS.PLATFORM_INFO,
  MSRS.MISC_FEATURES_ENABLES,
  MSRS.POWER_CTL,
  MSRS.VM_HSAVE_PA,
  MSRS.VM_CR,
  MSRS.HWCR,
  MSRS.DE_CFG,
  MSRS.TSC_RATIO,
  MSRS.VIRT_SPEC_CTRL,
  MSRS.KVM_ASYNC_PF_EN,
  MSRS.KVM_ASYNC_PF_INT,
  MSRS.KVM_ASYNC_PF_ACK,
  MSRS.KVM_PV_EOI_EN,
  MSRS.KVM_POLL_CONTROL,
  MSRS.KVM_MIGRATION_CONTROL,
  // What performance counters count, which KVM always looks at; the counters themselves it may pass through.
  MSRS.IA32_FIXED_CTR_CTRL,
  ...row(0x186, INTEL_COUNTERS),
  ...row(0xc001_0000, K7_COUNTERS),
  ...row(0xc001_0200, AMD_COUNTERS, 2),
]);

/** Performance counters: Intel SDM Vol. 3B, 20.2; AMD APM Vol. 2, 13.2.1. */
const COUNTERS: ReadonlySet<number> = new Set([
  ...row(0xc1, INTEL_COUNTERS),
  ...row(0x4c1, INTEL_COUNTERS),
  ...row(0x309, INTEL_COUNTERS),
  ...row(0xc001_0004, K7_COUNTERS),
  ...row(0xc001_0201, AMD_COUNTERS, 2),
]);

/** What says when they count, and what comes of it. */
const COUNTING: ReadonlySet<number> = new Set([
  MSRS.IA32_PERF_GLOBAL_STATUS,
  MSRS.IA32_PERF_GLOBAL_CTRL,
  MSRS.IA32_PERF_GLOBAL_OVF_CTRL,
  MSRS.IA32_PEBS_ENABLE,
  MSRS.PEBS_DATA_CFG,
  MSRS.IA32_DS_AREA,
]);

/** Whether an exit alone changes it, in all guests. */
export function isEmulated(index: number): boolean {
  return KEPT_BY_KVM.has(index);
}

/**
 * The MSRs that a vCPU has and that can be set, in the order in which they are to be set: the TSC before its deadline.
 *
 * @param hasHyperv Whether CPUID offers Hyper-V's there.
 */
export function msrsToSave(kvm: Kvm, vcpu: Vcpu, hasHyperv: boolean): number[] {
  const isHyperv = (index: number) => index >= HYPERV.first && index <= HYPERV.last;
  const listed = kvm.getMsrIndexList().filter((index) =>
    !WALL_CLOCKS.includes(index) && (hasHyperv || !isHyperv(index))
  );
  const [capabilities] = known([MSRS.IA32_MCG_CAP], (each) => vcpu.msrs.getMsrs(each))
    .map((index) => vcpu.msrs.getMsrs([index])[0].data);
  const banks = Number((capabilities ?? 0n) & BANK_COUNT);
  const machineChecks = row(MACHINE_CHECK_BANKS, banks * REGISTERS_PER_BANK);
  const all = new Set([...listed, ...MTRRS, ...UNLISTED, ...machineChecks]);
  const { IA32_TSC: tsc, IA32_TSC_DEADLINE: deadline } = MSRS;
  const others = [...all].filter((index) => index !== tsc && index !== deadline);
  const readable = known(others, (some) => vcpu.msrs.getMsrBytes(some));
  // What KVM takes from nobody is no state.
  const settable = known(readable, (some) => vcpu.msrs.setMsrBytes(vcpu.msrs.getMsrBytes(some)));
  return [tsc, ...withoutMonitoring(vcpu, settable), ...all.has(deadline) ? [deadline] : []];
}

/**
 * KVM lists the MSRs of performance monitoring for guests that have none, too: counters that stay 0 where they are set are
 * none, and without any all else about them is nothing.
 */
function withoutMonitoring(vcpu: Vcpu, indices: readonly number[]): readonly number[] {
  const entries = vcpu.msrs.getMsrs(indices);
  const counters = entries.filter(({ index }) => COUNTERS.has(index));
  if (counters.some(({ data }) => data !== 0n)) return indices;
  const set = (some: readonly number[], data: bigint) =>
    vcpu.msrs.setMsrs(some.map((index) => ({ index, data })));
  const taken = known(counters.map(({ index }) => index), (some) => set(some, 1n));
  const counting = vcpu.msrs.getMsrs(taken).filter(({ data }) => data !== 0n);
  set(counting.map(({ index }) => index), 0n);
  if (counting.length > 0) return indices;
  return entries.filter(({ index, data }) =>
    data !== 0n || !COUNTERS.has(index) && !COUNTING.has(index)
  )
    .map(({ index }) => index);
}

/** Those of some MSRs with which `use` does not fail. */
function known(
  indices: readonly number[],
  use: (indices: readonly number[]) => unknown,
): readonly number[] {
  for (let rest = indices;;) {
    try {
      use(rest);
      return rest;
    } catch (error) {
      if (!(error instanceof MsrError)) throw error;
      rest = rest.filter((index) => index !== error.index);
    }
  }
}
