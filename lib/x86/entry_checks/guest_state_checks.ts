import { controlRegisterRules, pointerRules } from "./control_register_rules.ts";
import { executionRules } from "./execution_rules.ts";
import {
  type GuestState,
  type GuestStateRule,
  type GuestStateViolation,
  violations,
} from "./guest_state.ts";
import { segmentRules, systemSegmentRules } from "./segment_rules.ts";

export type {
  CheckedGuestState,
  GuestState,
  GuestStateRule,
  GuestStateViolation,
} from "./guest_state.ts";

/** Every rule that {@linkcode checkGuestState} knows. */
export const guestStateRules: readonly GuestStateRule[] = [
  ...controlRegisterRules,
  ...segmentRules,
  ...systemSegmentRules,
  ...executionRules,
  ...pointerRules,
];

/**
 * Checks a CPU state as VM entry does on Intel's CPUs (Intel SDM Vol. 3C, 26.3.1, "Checks on the Guest State
 * Area"). A state that breaks one of these rules gives `KVM_EXIT_FAIL_ENTRY` there, while AMD's CPUs may run it.
 *
 * What KVM keeps to itself is not asked about: debug controls, MSR load areas, interruptibility, the VMCS
 * link. The tables of PAE paging (26.3.1.6) are looked at where the state can read memory.
 *
 * @param state A boot state, or a stopped CPU's, with what the CPU can do.
 * @returns The rules that are broken: empty for a sound state.
 * @example
 * ```ts
 * import { checkGuestState, longMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const state = longMode();
 * assertEquals(checkGuestState(state), []);
 *
 * state.specialRegisters.tr.type = 9; // a TSS that is available, not busy
 * assertEquals(checkGuestState(state).map(({ detail }) => detail), ["TR: type is 9"]);
 * ```
 */
export function checkGuestState(state: GuestState): GuestStateViolation[] {
  return violations(guestStateRules, state);
}
