import { kvmChoice, kvmDevice } from "../../../lib/kvm/remote/kvm_choice.ts";
import { assertEquals, assertThrows } from "@std/assert";

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
    assertEquals(kvmDevice(`${folder}/kvm/below`), "forbidden");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("this machine's KVM is used where it is usable, unless the environment says otherwise", () => {
  assertEquals(kvmChoice("usable", undefined).kvm, "host");
  assertEquals(kvmChoice("missing", "host").kvm, "host");
  for (const wish of ["nested", "qemu-svm"]) {
    assertEquals(kvmChoice("usable", wish), {
      kvm: "qemu-svm",
      because: "VMEXIT_KVM says so",
    });
  }
  assertEquals(kvmChoice("usable", "bochs-vmx").kvm, "bochs-vmx");
  for (const device of ["missing", "forbidden", "software"] as const) {
    assertEquals(kvmChoice(device, "").kvm, "qemu-svm");
  }
  assertThrows(
    () => kvmChoice("usable", "qemu"),
    RangeError,
    '"qemu" is not one of host, nested, qemu-svm, bochs-vmx',
  );
});

Deno.test("the reason for an emulated machine is the right one", () => {
  for (
    const [device, reason] of [
      ["missing", "no /dev/kvm"],
      ["forbidden", "usermod -aG kvm"],
      ["software", "neither VT-x"],
    ] as const
  ) {
    const choice = kvmChoice(device, undefined);
    assertEquals(choice.kvm !== "host" && choice.because.includes(reason), true, device);
  }
});
