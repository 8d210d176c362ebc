import { LINEAR_ADDRESS_BITS, PHYSICAL_ADDRESS_BITS } from "../paging/canonical.ts";
import type { GeneralRegisters, SpecialRegisters } from "../boot/cpu_state.ts";
import {
  cr0Flags,
  cr4Flags,
  eferFlags,
  RFLAGS_ALWAYS_SET,
  rflagsFlags,
} from "../registers/flag_tables.ts";
import { flagMask, flagsToValue, getFlag } from "../registers/flags.ts";

/**
 * What VM entry looks at. Only `specialRegisters` must be there; the rest has the usual values (Intel SDM Vol. 3C,
 * 26.3.1).
 */
export interface GuestState {
  /** rip and rflags count; 0 and 2 where left out. */
  registers?: Partial<GeneralRegisters>;
  /** Segments, descriptor tables, control registers. */
  specialRegisters: SpecialRegisters;
  /** The "unrestricted guest" VM-execution control. KVM sets it wherever the CPU has it. Default true. */
  unrestrictedGuest?: boolean;
  /** An external interrupt is injected by this entry. Default false. */
  externalInterrupt?: boolean;
  /** The activity state is HLT. Default false. */
  halted?: boolean;
  /**
   * The 8 bytes at a guest-physical address that is a multiple of 8, or undefined where there is no memory. Without
   * it the tables of PAE paging are not looked at.
   */
  read?: (gpa: number) => bigint | undefined;
  /** The CPU's physical-address width. Default 52, the architecture's. */
  physicalAddressBits?: number;
  /** The CPU's linear-address width. Default 48. */
  linearAddressBits?: number;
  /**
   * IA32_VMX_CR0_FIXED0: bits that must be 1. Default PE, NE, PG, as all CPUs have it; an unrestricted guest
   * is excused from PE and PG.
   */
  cr0Fixed0?: bigint;
  /** IA32_VMX_CR0_FIXED1: bits that may be 1. Default the lower 32. */
  cr0Fixed1?: bigint;
  /** IA32_VMX_CR4_FIXED0: bits that must be 1. Default none: the one that all CPUs have, VMXE, is set by KVM. */
  cr4Fixed0?: bigint;
  /** IA32_VMX_CR4_FIXED1: bits that may be 1. Default all that have a name. */
  cr4Fixed1?: bigint;
}

/** A {@linkcode GuestState} with nothing left out, and what rules often ask of it (Intel SDM Vol. 3C, 26.3.1). */
export interface CheckedGuestState extends Required<Omit<GuestState, "registers" | "read">> {
  /** See {@linkcode GuestState}. */
  read?: (gpa: number) => bigint | undefined;
  /** RIP. */
  rip: bigint;
  /** RFLAGS. */
  rflags: bigint;
  /** The "IA-32e mode guest" VM-entry control, which KVM derives from EFER.LMA. */
  ia32e: boolean;
  /** RFLAGS.VM. */
  virtual8086: boolean;
}

/** One check that VM entry makes (Intel SDM Vol. 3C, 26.3.1). */
export interface GuestStateRule {
  /** What must hold, in a sentence. */
  rule: string;
  /**
   * The section of the manual. For Intel's Vol. 3C it is numbered as in editions whose chapter 26 is "VM
   * Entries"; later editions count that chapter higher and keep the rest.
   */
  section: string;
  /** How the state breaks the rule: once for each register that does, so never for a sound state. */
  broken(state: CheckedGuestState): string[];
}

/** A rule that a state breaks (Intel SDM Vol. 3C, 26.3.1). */
export interface GuestStateViolation {
  /** The rule, in a sentence. */
  rule: string;
  /** The section of the manual that has it. */
  section: string;
  /** What was found, by register and value. */
  detail: string;
}

/** Fills in what was left out. */
export function completeGuestState(state: GuestState): CheckedGuestState {
  const { registers = {}, specialRegisters } = state;
  const rflags = registers.rflags ?? RFLAGS_ALWAYS_SET;
  return {
    unrestrictedGuest: state.unrestrictedGuest ?? true,
    externalInterrupt: state.externalInterrupt ?? false,
    halted: state.halted ?? false,
    physicalAddressBits: state.physicalAddressBits ?? PHYSICAL_ADDRESS_BITS,
    linearAddressBits: state.linearAddressBits ?? LINEAR_ADDRESS_BITS,
    cr0Fixed0: state.cr0Fixed0 ?? flagsToValue(cr0Flags, { pe: true, ne: true, pg: true }),
    cr0Fixed1: state.cr0Fixed1 ?? 0xffff_ffffn,
    cr4Fixed0: state.cr4Fixed0 ?? 0n,
    cr4Fixed1: state.cr4Fixed1 ?? flagMask(cr4Flags),
    ...state.read === undefined ? {} : { read: state.read },
    specialRegisters,
    rip: registers.rip ?? 0n,
    rflags,
    ia32e: getFlag(eferFlags, "lma", specialRegisters.efer) === true,
    virtual8086: getFlag(rflagsFlags, "vm", rflags) === true,
  };
}

/** The violations of `rules` by a state. */
export function violations(
  rules: readonly GuestStateRule[],
  state: GuestState,
): GuestStateViolation[] {
  const complete = completeGuestState(state);
  return rules.flatMap(({ rule, section, broken }) =>
    broken(complete).map((detail) => ({ rule, section, detail }))
  );
}
