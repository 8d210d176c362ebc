import type { Kvm } from "../../kvm/kvm.ts";
import { MsrError } from "../../kvm/errors.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { CpuidEntry } from "../../x86/cpuid/cpuid.ts";
import { MSRS } from "../../x86/msrs/msrs.ts";

/** The MTRRs (Intel SDM Vol. 3A, 12.11), which kernels before 6.5 do not list. */
const VARIABLE_MTRRS = { first: 0x200, count: 16 };
const MTRRS: readonly number[] = [
  ...Array.from({ length: VARIABLE_MTRRS.count }, (_, index) => VARIABLE_MTRRS.first + index),
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

/** Whether it is an MTRR, or a register of a machine-check bank. */
export function isEmulated(index: number): boolean {
  const inBanks = index - MACHINE_CHECK_BANKS;
  return MTRRS.includes(index) || inBanks >= 0 && inBanks < MOST_BANKS * REGISTERS_PER_BANK;
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
  const machineChecks = Array.from(
    { length: banks * REGISTERS_PER_BANK },
    (_, index) => MACHINE_CHECK_BANKS + index,
  );
  const all = new Set([...listed, ...MTRRS, ...UNLISTED, ...machineChecks]);
  const { IA32_TSC: tsc, IA32_TSC_DEADLINE: deadline } = MSRS;
  const others = [...all].filter((index) => index !== tsc && index !== deadline);
  const readable = known(others, (some) => vcpu.msrs.getMsrBytes(some));
  // What KVM takes from nobody is no state.
  const settable = known(readable, (some) => vcpu.msrs.setMsrBytes(vcpu.msrs.getMsrBytes(some)));
  return [tsc, ...settable, ...all.has(deadline) ? [deadline] : []];
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
