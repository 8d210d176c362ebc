/** The environment variable that says, inside a nested machine, which one it is. */
const NESTED_VARIABLE = "VMEXIT_NESTED";

const MODULES = "/sys/module";

/** Says what KVM this process runs on: figures of a nested one mean something only beside each other. */
export function kvmInUse(): string {
  const nested = Deno.env.get(NESTED_VARIABLE);
  if (nested) return `nested machine ${nested} (its times mean nothing, its ratios do)`;
  const modules = [...Deno.readDirSync(MODULES)].map((entry) => entry.name)
    .filter((name) => name.startsWith("kvm_"));
  return `this machine's KVM (${modules.join(", ") || "built in"})`;
}
