import {
  checkGuestState,
  type GuestState,
  type GuestStateViolation,
} from "./guest_state_checks.ts";
import { hex } from "../hex.ts";
import { checkVmrunState } from "./vmrun_checks.ts";

/** A VMX exit reason whose bit 31 is set is a failed entry (Intel SDM Vol. 3C, 24.9.1 and appendix C). */
const VMX_ENTRY_FAILURE = 0x8000_0000n;
const VMX_BASIC_REASON = 0xffffn;
const VMX_REASONS: ReadonlyMap<bigint, string> = new Map([
  [33n, "the guest's state is not valid"],
  [34n, "an MSR of the entry's list could not be loaded"],
  [41n, "a machine check came in between"],
]);

/** VM-instruction error numbers, for an entry that failed before the guest's state was looked at. */
const VMX_INSTRUCTION_ERRORS: ReadonlyMap<bigint, string> = new Map([
  [4n, "VMLAUNCH with a VMCS that is not clear"],
  [5n, "VMRESUME with a VMCS that was not launched"],
  [7n, "the control fields are not valid"],
  [8n, "the host's state is not valid"],
  [26n, "events are blocked by MOV SS"],
]);
const LAST_INSTRUCTION_ERROR = 28n;

/** SVM's exit code for a state that VMRUN refuses is −1, in 32 or in 64 bits (AMD APM Vol. 2, 15.5.1). */
const SVM_EXIT_ERR: ReadonlySet<bigint> = new Set([0xffff_ffffn, 0xffff_ffff_ffff_ffffn]);

/**
 * Why the CPU refused to enter a guest, in lines: what its reason says, and which rules of the manual the
 * guest's state breaks.
 *
 * @param reason `hardware_entry_failure_reason` of the FAIL_ENTRY exit (api.rst, 5): SVM's exit code, VMX's exit reason
 *   with bit 31, or its VM-instruction error.
 * @param state The state with which the guest was to be entered.
 * @returns A heading, and behind it a line, indented, for each rule that is broken.
 * @example
 * ```ts
 * import { explainEntryFailure, longMode } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * const state = longMode();
 * state.specialRegisters.cs.db = 1;
 * assertEquals(explainEntryFailure(0xffff_ffffn, state), [
 *   "SVM's VMRUN refused the guest's state. It breaks:",
 *   "  CS is not both 64-bit (L) and 32-bit (D) in long mode: CS: l and db are 1 (AMD APM Vol. 2, 15.5.1)",
 * ]);
 * ```
 */
export function explainEntryFailure(reason: bigint, state: GuestState): string[] {
  if (SVM_EXIT_ERR.has(reason)) {
    return withRules("SVM's VMRUN refused the guest's state", checkVmrunState(state));
  }
  if (reason & VMX_ENTRY_FAILURE) {
    const text = VMX_REASONS.get(reason & VMX_BASIC_REASON) ??
      `for a reason that vmexit does not know, ${reason & VMX_BASIC_REASON}`;
    return withRules(`VMX's VM entry failed: ${text}`, checkGuestState(state));
  }
  if (reason > 0n && reason <= LAST_INSTRUCTION_ERROR) {
    return [
      `VMX's VM entry failed before it looked at the guest's state: VM-instruction error ${reason}, ` +
      (VMX_INSTRUCTION_ERRORS.get(reason) ?? "see the manual's list (Intel SDM Vol. 3C, 30.4)"),
    ];
  }
  return [
    `The CPU refused to enter the guest for a reason that vmexit does not know: ${hex(reason)}`,
  ];
}

function withRules(head: string, violations: readonly GuestStateViolation[]): string[] {
  if (violations.length === 0) {
    return [`${head}. It breaks no rule that vmexit knows.`];
  }
  return [
    `${head}. It breaks:`,
    ...violations.map(({ rule, section, detail }) => `  ${rule}: ${detail} (${section})`),
  ];
}
