import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { NestedError, type NestedMachine, startNested } from "../nested/mod.ts";
import { captureDeno } from "./capture_deno.ts";
import type { CommandContext } from "./command_context.ts";
import { coverageReport } from "./coverage_report.ts";
import { denoFolder } from "./deno_folder.ts";
import type { Counts } from "./junit.ts";
import { nestedDeno } from "./nested_deno.ts";
import { permissionArguments } from "./permission_arguments.ts";
import { projectFiles } from "./project_files.ts";
import type { TestArguments } from "./test_arguments.ts";
import { filesMeant, namedFiles, testFiles } from "./test_files.ts";
import { TestProgress } from "./test_progress.ts";
import { writeAll } from "./write_all.ts";

/** How a `deno test` inside ended. */
export interface TestsInside {
  /** Its exit code, or that of the type check. */
  code: number;
  /** How many tests came out how until the machine died, if it did; the one under which it died has failed. */
  died?: Counts;
}

const CHECK = /^--(no-)?check(=|$)/;

/** Type-checks as `deno test` would, and has all modules fetched and transpiled. */
async function prepare(
  parsed: TestArguments,
  roots: readonly string[],
  context: CommandContext,
): Promise<number> {
  const options = { cwd: Deno.cwd(), signal: context.signal };
  const skipsCheck = parsed.options.some((option) => option.startsWith("--no-check"));
  const checking = skipsCheck ? undefined : captureDeno(
    ["test", "--no-run", ...parsed.options, "--permit-no-files", ...parsed.paths],
    options,
  );
  const [check] = await Promise.all([
    checking,
    captureDeno(["cache", ...parsed.resolution, ...roots], options),
  ]);
  if (check !== undefined && check.code !== 0) {
    context.progress.clear();
    writeAll(Deno.stderr, check.stderr);
  }
  return check?.code ?? 0;
}

/**
 * Runs `deno test` inside a machine whose KVM cannot be reached from outside: the machine is resumed while the modules are checked on the host, which is a
 * hundred times faster at it.
 *
 * @param machine the machine
 * @param parsed what the command line has
 * @param report where its JUnit report comes to lie
 * @param context who hears of it, what ends it
 * @returns how it ended
 * @throws {NestedError} when files are to be watched
 */
export async function testInside(
  machine: NestedMachine,
  parsed: TestArguments,
  report: string,
  context: CommandContext,
): Promise<TestsInside> {
  const { progress, signal } = context;
  const cwd = Deno.cwd();
  if (parsed.options.some((option) => option.startsWith("--watch"))) {
    throw new NestedError("Cannot watch files inside an emulated machine: run without --watch");
  }
  const found = await testFiles(cwd, parsed.options.includes("--doc"));
  const roots = [
    ...new Set([...filesMeant(found, parsed.paths, cwd), ...namedFiles(parsed.paths, cwd)]),
  ];
  const starting = startNested({ machine, onProgress: progress.show, signal });
  // It is awaited below, unless the check fails first.
  starting.catch(() => {});
  const checked = await prepare(parsed, roots, context);
  await using session = await starting;
  if (checked !== 0) return { code: checked };
  const urls = roots.map((root) => pathToFileURL(root));
  const coverage = parsed.coverage === undefined ? undefined : resolve(cwd, parsed.coverage);
  const args = [
    "test",
    "--no-check",
    "--cached-only",
    ...await permissionArguments(parsed, cwd),
    ...parsed.options.filter((option) => !CHECK.test(option)),
    `--junit-path=${report}`,
    ...(coverage === undefined ? [] : [`--coverage=${coverage}`, "--coverage-raw-data-only"]),
    ...(parsed.rest.length > 0 ? ["--", ...parsed.rest] : []),
    ...parsed.paths,
  ];
  const updates = parsed.options.some((option) => /^(-u|--update-snapshots)$/.test(option));
  const snapshots = new Set(
    updates ? roots.map((root) => join(dirname(root), "__snapshots__")) : [],
  );
  progress.note(
    `testing inside an emulated machine (${machine.description}): times mean nothing there`,
  );
  const tests = new TestProgress();
  try {
    const code = await nestedDeno(session, args, {
      cwd,
      filesIn: await projectFiles(urls, cwd, parsed.resolution, denoFolder(), signal),
      filesOut: [report, ...(coverage === undefined ? [] : [coverage]), ...snapshots],
      progress,
      onStdout: (chunk) => tests.hear(chunk),
    });
    if (code !== 0 || coverage === undefined || parsed.rawCoverage) return { code };
    return { code: await coverageReport(coverage, parsed.coverageThreshold, { cwd, signal }) };
  } catch (error) {
    if (!(error instanceof NestedError)) throw error;
    const { running, counts } = tests;
    const when = running === undefined ? "between two tests" : `in the test "${running}"`;
    progress.note(`${error.message}\n\nThis happened ${when}. Tests after it did not run.`);
    return { code: error.exitCode, died: { ...counts, failed: counts.failed + 1 } };
  }
}
