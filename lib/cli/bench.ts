import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { bochsVmx } from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";
import { nestedCommand } from "./nested_command.ts";
import { chooseKvm, prepareKvm } from "./prepare_kvm.ts";
import { runDeno } from "./run_deno.ts";

const FOLDER = "bench";
const BENCHMARK = /_bench\.ts$/;
/** Prepares what benchmarks compare with, on the host. */
const COMPILE = "compile.ts";

async function benchmarks(folder: string): Promise<string[]> {
  const found: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (BENCHMARK.test(name)) found.push(join(folder, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found.sort();
}

/**
 * `vmexit bench [FILE ...] [arguments]`: runs benchmark modules by `deno bench`, by default all `bench/*_bench.ts`, on
 * this machine's KVM or an emulated machine's. A `bench/compile.ts` is run on the host first.
 *
 * @param args Files, then arguments of `deno bench`; behind `--` those of the modules.
 * @param context Who hears of it, what ends it.
 * @returns The first exit code that is not 0.
 * @throws {TypeError} When there is no benchmark.
 */
export async function bench(args: readonly string[], context: CommandContext): Promise<number> {
  const { signal } = context;
  const cwd = Deno.cwd();
  const folder = join(cwd, FOLDER);
  const named = args.filter((arg) => BENCHMARK.test(basename(arg)));
  const rest = args.filter((arg) => !named.includes(arg));
  const files = named.length > 0 ? named : await benchmarks(folder);
  if (files.length === 0) {
    throw new TypeError(`Cannot find a benchmark: there is no ${FOLDER}/*_bench.ts in ${cwd}`);
  }
  const compile = join(folder, COMPILE);
  if (await Deno.stat(compile).then(() => true, () => false)) {
    const code = await runDeno(["run", "--allow-all", compile], { cwd, signal });
    if (code !== 0) return code;
  }
  const choice = chooseKvm(context);
  const isInside = choice.kvm === "bochs-vmx";
  const env = isInside ? {} : await prepareKvm(choice, context);
  for (const file of files) {
    const code = isInside
      ? await nestedCommand(pathToFileURL(file), rest, bochsVmx(), context, "bench")
      : await runDeno(["bench", "--allow-all", file, ...rest], { cwd, env, signal });
    if (code !== 0) return code;
  }
  return 0;
}
