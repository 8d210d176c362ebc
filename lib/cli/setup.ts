import {
  findNasm,
  findProgram,
  installPackages,
  missingPackages,
  openImage,
  requireNasm,
} from "../nested/mod.ts";
import { chooseKvm } from "./choose_kvm.ts";
import type { CommandContext } from "./command_context.ts";

/** What compiles the C programs that vmexit compares itself with. */
const C_COMPILER_PACKAGES = ["gcc", "libc6-dev", "linux-libc-dev"];
const C_COMPILER_OPTION = "--c-compiler";

/**
 * `vmexit setup [--c-compiler]`: fetches and makes all that tests need, and does nothing where it is there already.
 *
 * @param args the command's arguments
 * @param context who hears of it, what ends it
 * @returns the exit code
 * @throws {TypeError} when an argument is not known
 */
export async function setup(args: readonly string[], context: CommandContext): Promise<number> {
  const { progress, signal } = context;
  for (const arg of args) {
    if (arg !== C_COMPILER_OPTION) {
      throw new TypeError(
        `Cannot take ${arg} as an argument of setup: it knows ${C_COMPILER_OPTION} only`,
      );
    }
  }
  const choice = chooseKvm(context);
  const packages: string[] = [];
  const reasons: string[] = [];
  if (args.includes(C_COMPILER_OPTION) && await findProgram("cc") === undefined) {
    packages.push(...C_COMPILER_PACKAGES);
    reasons.push("a C compiler");
  }
  const ofMachine = choice.kvm === "nested" ? await missingPackages(choice.machine) : [];
  if (ofMachine.length > 0) {
    packages.push(...ofMachine);
    reasons.push("a KVM");
  }
  // All in one command, because without root a person has to type it.
  if (packages.length > 0) {
    if (await findNasm() === undefined) {
      packages.push("nasm");
      reasons.push("the assembler");
    }
    await installPackages(packages, reasons.join(", "), progress.show, signal);
  }
  await requireNasm(progress.show, signal);
  if (choice.kvm === "nested") {
    using _image = await openImage({ machine: choice.machine, say: progress.show, signal });
  }
  progress.clear();
  return 0;
}
