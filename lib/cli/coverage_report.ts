import { join } from "node:path";
import { runDeno } from "./run_deno.ts";

/**
 * Makes of raw coverage data what `deno test --coverage` makes of it: a table on standard output, and lcov.info and html/ in the folder.
 *
 * @param folder the absolute path of the data
 * @param threshold the percentage below which it fails
 * @param options the working directory, and what ends it
 * @returns the exit code: not 0 if the coverage is below the threshold
 */
export async function coverageReport(
  folder: string,
  threshold: string | undefined,
  options: { cwd: string; signal: AbortSignal },
): Promise<number> {
  const limit = threshold === undefined ? [] : [`--threshold=${threshold}`];
  const code = await runDeno(["coverage", ...limit, folder], options);
  const lcov = `--output=${join(folder, "lcov.info")}`;
  await runDeno(["coverage", "--quiet", "--lcov", lcov, folder], options);
  await runDeno(["coverage", "--quiet", "--html", folder], options);
  return code;
}
