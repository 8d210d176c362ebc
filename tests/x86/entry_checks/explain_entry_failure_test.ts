import { explainEntryFailure, longMode, realMode } from "@vmexit/vmexit/x86";
import { assertEquals } from "@std/assert";

const SVM_EXIT_ERR = 0xffff_ffff_ffff_ffffn;

Deno.test("SVM's refusal names the rules of VMRUN, VMX's those of VM entry", () => {
  const wide = longMode();
  wide.specialRegisters.cs.db = 1;
  assertEquals(explainEntryFailure(SVM_EXIT_ERR, wide), [
    "SVM's VMRUN refused the guest's state. It breaks:",
    "  CS is not both 64-bit (L) and 32-bit (D) in long mode: CS: l and db are 1 (AMD APM Vol. 2, 15.5.1)",
  ]);
  const tss = realMode();
  tss.specialRegisters.tr.type = 9;
  const [head, rule] = explainEntryFailure(0x8000_0021n, tss);
  assertEquals(head, "VMX's VM entry failed: the guest's state is not valid. It breaks:");
  assertEquals(rule.endsWith("TR: type is 9 (Intel SDM Vol. 3C, 26.3.1.2)"), true, rule);
});

Deno.test("a failure without a rule, of the controls, and of an unknown kind, say what they can", () => {
  const state = realMode();
  assertEquals(explainEntryFailure(0xffff_ffffn, state), [
    "SVM's VMRUN refused the guest's state. It breaks no rule that vmexit knows.",
  ]);
  assertEquals(explainEntryFailure(0x8000_0022n, state), [
    "VMX's VM entry failed: an MSR of the entry's list could not be loaded. It breaks no rule that vmexit knows.",
  ]);
  assertEquals(explainEntryFailure(7n, state), [
    "VMX's VM entry failed before it looked at the guest's state: VM-instruction error 7, the control fields are not valid",
  ]);
  assertEquals(explainEntryFailure(0x1234n, state), [
    "The CPU refused to enter the guest for a reason that vmexit does not know: 0x1234",
  ]);
});
