import { emulatedMachine, remoteLibc } from "../lib/kvm/remote/kvm_choice.ts";
import { runProgram } from "../lib/kvm/remote/run_program.ts";
import { cProgram } from "./c_program.ts";

/** The environment variable that says, inside a nested machine, which one it is. */
const NESTED_VARIABLE = "VMEXIT_NESTED";

const MODULES = "/sys/module";

/** Says what KVM this process uses: figures of an emulated machine's mean something only beside each other. */
export function kvmInUse(): string {
  const machine = Deno.env.get(NESTED_VARIABLE) ?? emulatedMachine();
  if (machine) return `the emulated machine ${machine} (its times mean nothing, its ratios do)`;
  const modules = [...Deno.readDirSync(MODULES)].map((entry) => entry.name)
    .filter((name) => name.startsWith("kvm_"));
  return `this machine's KVM (${modules.join(", ") || "built in"})`;
}

/**
 * Runs a C program of this folder where the KVM is that tests use: here, or in the emulated machine.
 *
 * @returns What it printed.
 * @throws {Error} When it fails, with what it said.
 */
export function runBesideKvm(source: string, ...args: readonly string[]): string {
  const program = cProgram(new URL(source, import.meta.url));
  const machine = remoteLibc();
  if (machine !== undefined) {
    const { status, output } = runProgram(machine, Deno.readFileSync(program), [source, ...args]);
    if (status !== 0) throw new Error(`${source} ended with wait status ${status}: ${output}`);
    return output;
  }
  const { success, stdout, stderr } = new Deno.Command(program, { args: [...args] }).outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
  return new TextDecoder().decode(stdout);
}
