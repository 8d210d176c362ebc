import { cr0Flags, cr4Flags, eferFlags } from "../registers/flag_tables.ts";
import { flagMask, type FlagTable, getFlag } from "../registers/flags.ts";
import {
  type CheckedGuestState,
  type GuestState,
  type GuestStateRule,
  type GuestStateViolation,
  violations,
} from "./guest_state.ts";
import { hex } from "../hex.ts";

const section = "AMD APM Vol. 2, 15.5.1";

/** Every rule that {@linkcode checkVmrunState} knows. */
export const vmrunRules: readonly GuestStateRule[] = [
  rule(
    "CR0.NW needs CR0.CD",
    ({ cr0 }) => is(cr0Flags, "nw", cr0) && !is(cr0Flags, "cd", cr0) && `CR0 is ${hex(cr0)}`,
  ),
  rule("CR0 has at most 32 bits", ({ cr0 }) => cr0 >> 32n !== 0n && `CR0 is ${hex(cr0)}`),
  rule(
    "CR3 has no bit beyond the physical-address width",
    ({ cr3 }, { physicalAddressBits }) =>
      cr3 >> BigInt(physicalAddressBits) !== 0n && `CR3 is ${hex(cr3)}`,
  ),
  rule(
    "CR4 has no reserved bit",
    ({ cr4 }) => (cr4 & ~flagMask(cr4Flags)) !== 0n && `CR4 is ${hex(cr4)}`,
  ),
  rule(
    "EFER has no reserved bit",
    ({ efer }) => (efer & ~flagMask(eferFlags)) !== 0n && `EFER is ${hex(efer)}`,
  ),
  rule(
    "EFER.LME with CR0.PG needs CR4.PAE",
    ({ cr0, cr4, efer }) =>
      is(eferFlags, "lme", efer) && is(cr0Flags, "pg", cr0) && !is(cr4Flags, "pae", cr4) &&
      `CR4 is ${hex(cr4)}`,
  ),
  rule(
    "EFER.LME with CR0.PG needs CR0.PE",
    ({ cr0, efer }) =>
      is(eferFlags, "lme", efer) && is(cr0Flags, "pg", cr0) && !is(cr0Flags, "pe", cr0) &&
      `CR0 is ${hex(cr0)}`,
  ),
  rule(
    "CS is not both 64-bit (L) and 32-bit (D) in long mode",
    ({ cr0, cr4, efer, cs }) =>
      is(eferFlags, "lme", efer) && is(cr0Flags, "pg", cr0) && is(cr4Flags, "pae", cr4) &&
      cs.l === 1 && cs.db === 1 && "CS: l and db are 1",
  ),
];

/**
 * Checks a CPU state as VMRUN does on AMD's CPUs (AMD APM Vol. 2, 15.5.1, "Canonicalization and Consistency
 * Checks"), as far as `struct kvm_sregs` decides it. KVM sets EFER.SVME itself; addresses that are not
 * canonical are made so, not refused.
 *
 * @param state A boot state, or a stopped CPU's, with what the CPU can do.
 * @returns The rules that are broken: empty for a sound state.
 * @example
 * ```ts
 * import { checkVmrunState, realMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(checkVmrunState(realMode()), []);
 * ```
 */
export function checkVmrunState(state: GuestState): GuestStateViolation[] {
  return violations(vmrunRules, state);
}

function rule(
  text: string,
  check: (
    registers: CheckedGuestState["specialRegisters"],
    state: CheckedGuestState,
  ) => false | string,
): GuestStateRule {
  return {
    rule: text,
    section,
    broken(state) {
      const detail = check(state.specialRegisters, state);
      return detail === false ? [] : [detail];
    },
  };
}

function is(table: FlagTable, name: string, value: bigint): boolean {
  return getFlag(table, name, value) === true;
}
