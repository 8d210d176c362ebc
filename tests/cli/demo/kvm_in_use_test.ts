import { kvmInUse, processorAndKernel } from "../../../lib/cli/demo/kvm_in_use.ts";
import { assertEquals, assertMatch } from "@std/assert";

Deno.test("a nested KVM is labelled with its machine, and with what it is not good for", () => {
  assertEquals(kvmInUse("qemu-svm"), "nested in QEMU (qemu-svm): real exits, no real timing");
  assertEquals(kvmInUse("bochs-vmx"), "nested in Bochs (bochs-vmx): real exits, no real timing");
  assertEquals(kvmInUse("x"), "nested in an emulated machine (x): real exits, no real timing");
});

Deno.test("this machine's own KVM is called so", () => {
  assertEquals(kvmInUse(""), "this machine's own");
});

Deno.test("the processor has its vendor and the kernel its version", async () => {
  assertMatch(await processorAndKernel(), /^\S.*, Linux \d+\.\d+/);
});
