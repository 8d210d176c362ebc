import { remoteLibc } from "../lib/kvm/remote/kvm_choice.ts";
import { runProgram } from "../lib/kvm/remote/run_program.ts";
import { cProgram } from "./c_program.ts";

/**
 * Runs a C program of `baseline/` where the KVM is that tests use: here, or in the emulated machine.
 *
 * @returns What it printed.
 * @throws {Error} When it fails, with what it said.
 */
export function runBesideKvm(source: string, ...args: readonly string[]): string {
  const program = cProgram(new URL(`baseline/${source}`, import.meta.url));
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
