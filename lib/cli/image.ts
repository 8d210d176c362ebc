import { basename, resolve } from "node:path";
import { QEMU_SVM } from "../kvm/remote/machine_image.ts";
import {
  exportKvmImage,
  importKvmImage,
  QEMU,
  requireKvmImage,
  requireMachineProgram,
} from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";

/**
 * `vmexit image export FILE` and `vmexit image import FILE`: packs the emulated machine that has the KVM (its kernel,
 * its agent, its state), and unpacks it on a host that cannot fetch the kernel.
 *
 * @param args `export` or `import`, and the file.
 * @param context Who hears of it, what ends it.
 * @returns The exit code.
 * @throws {TypeError} When the arguments are others.
 * @throws {NestedError} When the file is none, or another version's.
 */
export async function image(args: readonly string[], context: CommandContext): Promise<number> {
  const [verb, name, ...rest] = args;
  if (!["export", "import"].includes(verb) || name === undefined || rest.length > 0) {
    throw new TypeError("Cannot tell what to do: type vmexit image export FILE, or import FILE");
  }
  const { progress, signal } = context;
  const file = resolve(Deno.cwd(), name);
  const program = await requireMachineProgram(QEMU, progress.show, signal);
  if (verb === "import") await importKvmImage(file, program, progress.show, signal);
  await requireKvmImage(program, progress.show, signal);
  if (verb === "export") await exportKvmImage(file, signal);
  progress.note(`${QEMU_SVM} is ${verb === "export" ? `in ${basename(file)}` : "ready"}`);
  return 0;
}
