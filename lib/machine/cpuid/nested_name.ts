/** The environment variable in which `vmexit test` names the nested machine that it runs in. */
const VARIABLE = "VMEXIT_NESTED";

/**
 * The name of the nested machine that this process runs in (`"qemu-svm"`, `"bochs-vmx"`), or undefined on a
 * machine of its own, or where the environment may not be read.
 */
export function nestedName(): string | undefined {
  // Asking for the permission would stop a test run at a prompt.
  const { state } = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  return state === "granted" ? Deno.env.get(VARIABLE) : undefined;
}
