import { assertEquals } from "@std/assert";
import { kvmDevice } from "../../lib/nested/kvm_device.ts";

Deno.test("a KVM counts as usable only where the processor virtualizes", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/kvm`, "");
    for (
      const [flags, expected] of [
        ["fpu vmx sse", "usable"],
        ["fpu svm", "usable"],
        ["fpu hypervisor", "software"],
        ["svm_lock vmxoff", "software"],
      ] as const
    ) {
      await Deno.writeTextFile(`${folder}/cpuinfo`, `vendor_id\t: X\nflags\t\t: ${flags}\n`);
      assertEquals(kvmDevice(`${folder}/kvm`, `${folder}/cpuinfo`), expected);
    }
    assertEquals(kvmDevice(`${folder}/none`), "missing");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
