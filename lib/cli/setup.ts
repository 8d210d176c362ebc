import { findProgram, installPackages, openImage, qemuSvm, requireNasm } from "../nested/mod.ts";
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
  await requireNasm(progress.show, signal);
  if (args.includes(C_COMPILER_OPTION) && await findProgram("cc") === undefined) {
    await installPackages(C_COMPILER_PACKAGES, "a C compiler", progress.show, signal);
  }
  if (chooseKvm(context) === "nested") {
    using _image = await openImage({ machine: qemuSvm(), say: progress.show, signal });
  }
  progress.clear();
  return 0;
}
