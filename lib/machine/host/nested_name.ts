import { emulatedMachine } from "../../kvm/remote/kvm_choice.ts";

/** The environment variable in which `vmexit test` names the nested machine that it runs in. */
const VARIABLE = "VMEXIT_NESTED";

/**
 * The name of the emulated machine whose KVM is used (`"qemu-svm"`, or `"bochs-vmx"` in which this process runs), or
 * undefined where that is this machine's, or cannot be found out.
 */
export function nestedName(): string | undefined {
  // Asking for the permission would stop a test run at a prompt.
  const { state } = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  const inside = state === "granted" ? Deno.env.get(VARIABLE) : undefined;
  // Empty, it says that there is none: so tests have it.
  if (inside !== undefined) return inside === "" ? undefined : inside;
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted"
    ? emulatedMachine()
    : undefined;
}
