import { dirname, join, matchesGlob, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { REPORT_ALL_VARIABLE, REPORT_VARIABLE } from "../machine/viewer/reports_wanted.ts";
import { binutilsFiles, NestedError, type NestedMachine, startNested } from "../nested/mod.ts";
import { captureDeno, denoFolder, runDeno, writeAll } from "./run_deno.ts";
import type { CommandContext } from "./command_context.ts";
import { TestProgress } from "./junit.ts";
import { nestedDeno } from "./nested_command.ts";
import { permissionArguments, type TestArguments } from "./test_arguments.ts";
import { projectFiles } from "./project_files.ts";

/** How a `deno test` inside ended. */
export interface TestsInside {
  /** Its exit code, or that of the type check. */
  code: number;
  /** The report of the tests until the machine died, if it did; the one under which it died has failed. */
  died?: string;
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
 * Runs `deno test` inside a machine whose KVM cannot be reached from outside: the machine is resumed while the modules
 * are checked on the host, which is a hundred times faster at it.
 *
 * @param machine The machine.
 * @param parsed What the command line has.
 * @param report Where its JUnit report comes to lie.
 * @param context Who hears of it, what ends it.
 * @returns How it ended.
 * @throws {NestedError} When files are to be watched.
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
      filesIn: [
        ...await projectFiles(urls, cwd, parsed.resolution, denoFolder(), signal),
        ...await binutilsFiles(),
      ],
      filesOut: [
        report,
        ...(coverage === undefined ? [] : [coverage]),
        ...(parsed.report === undefined ? [] : [resolve(cwd, parsed.report)]),
        ...snapshots,
      ],
      env: reporting(parsed),
      progress,
      onStdout: (chunk) => tests.hear(chunk),
    });
    if (code !== 0 || coverage === undefined || parsed.rawCoverage) return { code };
    return { code: await coverageReport(coverage, parsed.coverageThreshold, { cwd, signal }) };
  } catch (error) {
    if (!(error instanceof NestedError)) throw error;
    const { running } = tests;
    const when = running === undefined ? "between two tests" : `in the test "${running}"`;
    progress.note(`${error.message}\n\nThis happened ${when}. Tests after it did not run.`);
    return { code: error.exitCode, died: tests.report(error.message) };
  }
}

/** Has the tests write reports, where that was asked for: all of them, since it is known only at the end which tests fail. */
export function reporting({ report }: TestArguments): Record<string, string> {
  return report === undefined
    ? {}
    : { [REPORT_VARIABLE]: resolve(report), [REPORT_ALL_VARIABLE]: "1" };
}

/**
 * Makes of raw coverage data what `deno test --coverage` makes of it: a table on standard output, and lcov.info and
 * html/ in the folder.
 *
 * @param folder The absolute path of the data.
 * @param threshold The percentage below which it fails.
 * @param options The working directory, and what ends it.
 * @returns The exit code: not 0 if the coverage is below the threshold.
 */
async function coverageReport(
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

/** What `deno test` takes for a test file in a folder (its manual, "Running tests"). */
const TEST_FILE = /(^|[._])test\.(ts|tsx|mts|js|mjs|jsx)$/;
const TEST_FOLDER = "__tests__";
const MODULE = /\.(ts|tsx|mts|js|mjs|jsx)$/;
const DOCUMENT = /\.md$/;

/** Folders that hold no tests of the project. */
const SKIPPED_FOLDERS: ReadonlySet<string> = new Set([".git", "node_modules", "vendor"]);

/**
 * The modules below a folder that `deno test` may load: all test files, or, for its doc tests, all modules.
 *
 * @param folder Where to look.
 * @param all Whether to name every module.
 * @returns Absolute paths, sorted.
 */
async function testFiles(folder: string, all = false): Promise<string[]> {
  const found: string[] = [];
  const visit = async (path: string, inTestFolder: boolean): Promise<void> => {
    for await (const { name, isDirectory, isFile } of Deno.readDir(path)) {
      const child = join(path, name);
      if (isDirectory && !SKIPPED_FOLDERS.has(name)) {
        await visit(child, inTestFolder || name === TEST_FOLDER);
      } else if (isFile && MODULE.test(name) && (all || inTestFolder || TEST_FILE.test(name))) {
        found.push(child);
      }
    }
  };
  await visit(folder, false);
  return found.sort();
}

/**
 * The files that paths, folders and patterns on a command line mean.
 *
 * @param files Candidates, absolute.
 * @param paths As typed; without any, all files are meant.
 * @param cwd What they are relative to.
 */
export function filesMeant(
  files: readonly string[],
  paths: readonly string[],
  cwd: string,
): string[] {
  if (paths.length === 0) return [...files];
  return files.filter((file) =>
    paths.some((path) => {
      const meant = resolve(cwd, path);
      return file === meant || file.startsWith(`${meant}/`) ||
        matchesGlob(relative(cwd, file), path.replace(/^\.\//, ""));
    })
  );
}

/** Paths on the command line that name one module or document, whether or not it looks like a test. */
function namedFiles(paths: readonly string[], cwd: string): string[] {
  return paths.filter((path) => MODULE.test(path) || DOCUMENT.test(path)).map((path) =>
    resolve(cwd, path)
  );
}
