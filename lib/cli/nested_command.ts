import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder, type NestedMachine, startNested } from "../nested/mod.ts";
import { captureDeno } from "./capture_deno.ts";
import type { CommandContext } from "./command_context.ts";
import { denoFolder } from "./deno_folder.ts";
import { nestedDeno } from "./nested_deno.ts";
import { projectFiles, projectRoot } from "./project_files.ts";

const LEFT_OUT: ReadonlySet<string> = new Set([".git", "node_modules"]);

/**
 * Runs a module in a nested machine as `deno run -A` or `deno bench -A` would run it here, in the same folder and with the same files. For commands that need a KVM
 * where the host has none: give them their own command line again, and they find a /dev/kvm.
 *
 * @param module where the module is: a file or a URL in Deno's cache
 * @param args its arguments
 * @param machine the machine to run it in
 * @param context who hears of it, what ends it
 * @param subcommand what Deno is to do with it
 * @returns its exit code
 *
 * @example
 * ```ts no-run
 * import { bochsVmx } from "@vmexit/vmexit/nested";
 * import { nestedCommand } from "./nested_command.ts";
 * import { Progress } from "./progress.ts";
 *
 * const context = { progress: new Progress(), signal: new AbortController().signal };
 * await nestedCommand(new URL("./main.ts", import.meta.url), ["demo"], bochsVmx(), context);
 * ```
 */
export async function nestedCommand(
  module: URL,
  args: readonly string[],
  machine: NestedMachine,
  context: CommandContext,
  subcommand: "run" | "bench" = "run",
): Promise<number> {
  const { progress, signal } = context;
  const cwd = Deno.cwd();
  const starting = startNested({ machine, onProgress: progress.show, signal });
  starting.catch(() => {});
  await captureDeno(["cache", module.href], { cwd, signal });
  const files = await projectFiles([module], cwd, [], denoFolder(), signal);
  if (module.protocol === "file:") {
    // With what it reads beside its modules, when it belongs to another project than the one we are in.
    files.push({
      host: await projectRoot(dirname(fileURLToPath(module))),
      exclude: (path) => LEFT_OUT.has(basename(path)),
    });
  }
  await using session = await starting;
  progress.note(`running in a nested machine (${machine.description}): times mean nothing there`);
  return await nestedDeno(
    session,
    [subcommand, "--allow-all", "--no-check", "--cached-only", module.href, ...args],
    { cwd, filesIn: [...files, { host: join(cacheFolder(), "bench") }], progress },
  );
}
