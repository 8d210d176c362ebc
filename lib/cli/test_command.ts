import { join, resolve } from "node:path";
import { NestedError, type NestedMachine, requireNasm } from "../nested/mod.ts";
import { chooseKvm } from "./choose_kvm.ts";
import type { CommandContext } from "./command_context.ts";
import { coverageReport } from "./coverage_report.ts";
import { type Counts, countTests, mergeReports, summary, withHost } from "./junit.ts";
import { nestedLeg } from "./nested_leg.ts";
import { permissionArguments } from "./permission_arguments.ts";
import { kvmModule, processor } from "./processor.ts";
import { runDeno } from "./run_deno.ts";
import { filesMeant, HOST_TEST_PATTERNS, isHostTest, namedFiles, testFiles } from "./test_files.ts";
import { type TestArguments, testArguments } from "./test_arguments.ts";
import { writeAll } from "./write_all.ts";

/** Options with which `deno test` runs no tests. */
const RUNS_NOTHING = ["--no-run", "--help", "-h"];
const STANDARD_OUTPUT = "-";

/** What the tests of one machine came to. */
interface LegResult {
  code: number;
  /** The JUnit report, if Deno wrote one. */
  report?: string;
  /** What is known without a report. */
  counts?: Counts;
}

async function readReport(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** `deno test` on this machine with our own JUnit report. */
async function hostLeg(
  parsed: TestArguments,
  own: readonly string[],
  folder: string,
  context: CommandContext,
): Promise<LegResult> {
  const cwd = Deno.cwd();
  const junitPath = join(folder, "host.junit.xml");
  const nasm = await requireNasm(context.progress.show, context.signal);
  context.progress.clear();
  const args = [
    "test",
    ...await permissionArguments(parsed, cwd),
    ...parsed.options,
    ...own,
    `--junit-path=${junitPath}`,
    ...(parsed.rest.length > 0 ? ["--", ...parsed.rest] : []),
  ];
  // At the end, so that it is found only where there is no other.
  const env = { PATH: `${Deno.env.get("PATH") ?? ""}:${nasm.folder}` };
  const code = await runDeno(args, { cwd, env, signal: context.signal });
  return { code, report: await readReport(junitPath) };
}

function coverageArguments(parsed: TestArguments, raw: boolean): string[] {
  if (parsed.coverage === undefined) return [];
  const threshold = raw || parsed.coverageThreshold === undefined
    ? []
    : [`--coverage-threshold=${parsed.coverageThreshold}`];
  const onlyData = raw || parsed.rawCoverage ? ["--coverage-raw-data-only"] : [];
  return [`--coverage=${parsed.coverage}`, ...onlyData, ...threshold];
}

function ignoreArgument(ignored: readonly string[]): string[] {
  return ignored.length > 0 ? [`--ignore=${ignored.join(",")}`] : [];
}

/** All tests with this machine's KVM, in one command. */
async function testOnHost(
  parsed: TestArguments,
  folder: string,
  context: CommandContext,
): Promise<LegResult[]> {
  const own = [
    ...ignoreArgument(parsed.ignored),
    ...coverageArguments(parsed, false),
    ...parsed.paths,
  ];
  return [await hostLeg(parsed, own, folder, context)];
}

/** The tests that need a KVM in a nested machine, then those that need the host on the host. */
async function testNested(
  machine: NestedMachine,
  parsed: TestArguments,
  folder: string,
  context: CommandContext,
): Promise<LegResult[]> {
  const cwd = Deno.cwd();
  if (parsed.options.some((option) => option.startsWith("--watch"))) {
    throw new NestedError("Cannot watch files in a nested machine: run without --watch");
  }
  const docTests = parsed.options.includes("--doc");
  const found = await testFiles(cwd, docTests);
  const meant = new Set([
    ...filesMeant(found, parsed.paths, cwd),
    ...namedFiles(parsed.paths, cwd),
  ]);
  const hostFiles = [...meant].filter(isHostTest);
  const nestedFiles = [...meant].filter((path) => !isHostTest(path));
  if (meant.size === 0) return await testOnHost(parsed, folder, context);
  const coverage = coverageArguments(parsed, true);
  const coverageFolder = resolve(cwd, parsed.coverage ?? "");
  if (parsed.options.includes("--clean")) {
    // Once here: a leg that did it would throw away what another has written.
    parsed.options = parsed.options.filter((option) => option !== "--clean");
    if (parsed.coverage !== undefined) {
      await Deno.remove(coverageFolder, { recursive: true }).catch(() => {});
    }
  }
  const results: LegResult[] = [];
  if (nestedFiles.length > 0) {
    const junitPath = join(folder, "nested.junit.xml");
    const { code, ran, died } = await nestedLeg({
      machine,
      parsed,
      own: [
        ...ignoreArgument([...parsed.ignored, ...HOST_TEST_PATTERNS, ...hostFiles]),
        ...coverage,
        `--junit-path=${junitPath}`,
        ...parsed.paths.filter((path) => !isHostTest(path)),
      ],
      roots: nestedFiles,
      hostFiles,
      filesOut: [junitPath, ...(parsed.coverage === undefined ? [] : [coverageFolder])],
    }, context);
    // As with Deno itself, a type error anywhere means that nothing is run.
    if (!ran) return [{ code }];
    const report = await readReport(junitPath);
    results.push({
      code,
      report: report && withHost(report, `nested-${machine.name}`),
      counts: died,
    });
  }
  const stop = parsed.options.some((option) => option.startsWith("--fail-fast")) &&
    results.some(({ code }) => code !== 0);
  if (hostFiles.length > 0 && !stop) {
    const checked = nestedFiles.length > 0 ? ["--no-check"] : [];
    const own = [...checked, ...ignoreArgument(parsed.ignored), ...coverage, "--permit-no-files"];
    results.push(await hostLeg(parsed, [...own, ...hostFiles], folder, context));
  }
  if (parsed.coverage !== undefined && !parsed.rawCoverage && results.every((r) => r.code === 0)) {
    const code = await coverageReport(coverageFolder, parsed.coverageThreshold, {
      cwd,
      signal: context.signal,
    });
    results.push({ code });
  }
  return results;
}

function count(results: readonly LegResult[]): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { code, report, counts: known } of results) {
    const counted = report === undefined ? known : countTests(report);
    if (counted === undefined) continue;
    counts.passed += counted.passed;
    // A module that throws outside of its tests fails the run, but is not in Deno's report.
    counts.failed += code !== 0 && counted.failed === 0 ? 1 : counted.failed;
    counts.skipped += counted.skipped;
  }
  return counts;
}

/**
 * `vmexit test [deno test arguments]`: runs `deno test`, on this machine's KVM or else in a nested machine, and prints as its last line how many
 * tests passed and failed.
 *
 * @param args the arguments of `deno test`
 * @param context who hears of it, what ends it
 * @returns the exit code of `deno test`
 */
export async function testCommand(
  args: readonly string[],
  context: CommandContext,
): Promise<number> {
  if (args.some((arg) => RUNS_NOTHING.includes(arg))) {
    return await runDeno(["test", ...args], { cwd: Deno.cwd(), signal: context.signal });
  }
  const parsed = testArguments(args);
  const folder = await Deno.makeTempDir({ prefix: "vmexit-test-" });
  try {
    const choice = chooseKvm(context);
    if (choice.kvm === "host") {
      context.progress.note(`testing on this machine's KVM: ${kvmModule(await processor())}`);
    }
    const results = choice.kvm === "host"
      ? await testOnHost(parsed, folder, context)
      : await testNested(choice.machine, parsed, folder, context);
    const reports = results.flatMap(({ report }) => report === undefined ? [] : [report]);
    if (parsed.junitPath !== undefined && reports.length > 0) {
      const merged = new TextEncoder().encode(mergeReports(reports));
      if (parsed.junitPath === STANDARD_OUTPUT) writeAll(Deno.stdout, merged);
      else await Deno.writeFile(parsed.junitPath, merged);
    }
    writeAll(Deno.stdout, new TextEncoder().encode(`${summary(count(results))}\n`));
    return results.find(({ code }) => code !== 0)?.code ?? 0;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
