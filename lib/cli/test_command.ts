import { dirname, join, resolve } from "node:path";
import { GDB_VARIABLE } from "../machine/gdb/debug_failures.ts";
import { beginReports, finishReports as finishListed } from "../machine/viewer/report_folder.ts";
import { GDB_PORT } from "../machine/gdb/serve_gdb.ts";
import type { KvmChoice } from "../kvm/remote/kvm_choice.ts";
import { bochsVmx, NestedError } from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";
import { type Counts, countTests, summary, testsByLine } from "./junit.ts";
import { GuestCoverage } from "./guest_coverage.ts";
import { timing } from "./timing.ts";
import { permissionArguments, type TestArguments, testArguments } from "./test_arguments.ts";
import { chooseKvm, kvmModule, prepareKvm, processor } from "./prepare_kvm.ts";
import { TIMING_VARIABLE } from "../guest/time_spent.ts";
import { runDeno, writeAll } from "./run_deno.ts";
import { SECOND_OPINION_OPTION, secondOpinion } from "./second_opinion.ts";
import { reporting, testInside, type TestsInside } from "./test_inside.ts";

/** Options with which `deno test` runs no tests. */
const RUNS_NOTHING = ["--no-run", "--help", "-h"];
const STANDARD_OUTPUT = "-";
const NOTHING: Counts = { passed: 0, failed: 0, skipped: 0 };

async function readReport(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function count(code: number, report: string | undefined): Counts {
  const counts = report === undefined ? NOTHING : countTests(report);
  // A module that throws outside of its tests fails the run, but is not in Deno's report.
  return code !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

/** Prepares for the coverage of guests, where it was asked for. */
function guestCoverage(
  { guestCoverage: file }: TestArguments,
  { kvm }: KvmChoice,
): GuestCoverage | undefined {
  if (file === undefined) return undefined;
  if (kvm === "bochs-vmx") {
    throw new NestedError(
      "Cannot record the coverage of guests inside the machine of Bochs: leave out --guest-coverage, or use another KVM",
    );
  }
  return new GuestCoverage(file);
}

/** Makes the folder that reports go to, where they were asked for. */
function makeReportFolder({ report }: TestArguments): void {
  if (report === undefined) return;
  try {
    beginReports(resolve(report));
  } catch (error) {
    throw new NestedError(`Cannot write reports to ${report}: ${(error as Error).message}`);
  }
}

/**
 * Tells the reports what is known at the end: which test each is of, and what that has failed with. Those of tests that have
 * passed go, unless all were asked for.
 */
function finishReports({ report: folder, reportAll }: TestArguments, junit: string): void {
  if (folder === undefined) return;
  const testsAt = testsByLine(junit);
  finishListed(resolve(folder), ({ name, title, failure }) => {
    const [, file, line] = /^(.*):(\d+)$/.exec(title) ?? [];
    const tests = file === undefined ? [] : testsAt(`./${file}`, Number(line));
    const failed = tests.filter((test) => test.failure !== undefined);
    const told = failed.filter((test) => test.failure!.includes(`/${name}.html\n`));
    const [test, ...others] = told.length > 0 ? told : failure === undefined ? tests : failed;
    const isOne = test !== undefined && others.length === 0;
    const why = failure ?? (isOne ? test.failure : undefined);
    // A test may have caught the failure of a machine, and another machine's may have failed the test.
    if (!reportAll && (why === undefined || (tests.length > 0 && failed.length === 0))) {
      return undefined;
    }
    // Of the machine's own failure the report has more than the list.
    return {
      test: isOne ? test.name : undefined,
      ...failure === undefined ? { failure: why } : {},
    };
  });
}

/** Says where a test that fails waits for gdb, where that was asked for. */
function debugging(
  { gdb }: TestArguments,
  note: (line: string) => void,
): Record<string, string> {
  if (gdb === undefined) return {};
  note(`a test that fails waits for gdb -ex "target remote :${GDB_PORT}"`);
  return { [GDB_VARIABLE]: String(GDB_PORT) };
}

/**
 * `vmexit test [deno test arguments]`: sees to it that there is a KVM, runs `deno test` with the same arguments, and
 * prints as its last line how many tests passed and failed.
 *
 * @param args The arguments of `deno test`.
 * @param context Who hears of it, what ends it.
 * @param chosen Whose KVM is used, where that is not for the environment to say.
 * @returns The exit code of `deno test`.
 */
export async function testCommand(
  args: readonly string[],
  context: CommandContext,
  chosen?: KvmChoice,
): Promise<number> {
  const cwd = Deno.cwd();
  const { progress, signal } = context;
  if (args.some((arg) => RUNS_NOTHING.includes(arg))) {
    return await runDeno(["test", ...args], { cwd, signal });
  }
  if (args.includes(SECOND_OPINION_OPTION)) {
    const others = args.filter((arg) => arg !== SECOND_OPINION_OPTION);
    return await secondOpinion(others, context, testCommand);
  }
  const parsed = testArguments(args);
  const folder = await Deno.makeTempDir({ prefix: "vmexit-test-" });
  try {
    const wanted = parsed.junitPath;
    const path = wanted === undefined || wanted === STANDARD_OUTPUT
      ? join(folder, "junit.xml")
      : resolve(cwd, wanted);
    await Deno.mkdir(dirname(path), { recursive: true });
    // One of an earlier run would be counted if this one wrote none.
    await Deno.remove(path).catch(() => {});
    makeReportFolder(parsed);
    const choice = chosen ?? chooseKvm(context);
    const coverage = guestCoverage(parsed, choice);
    let result: TestsInside;
    if (choice.kvm === "bochs-vmx") {
      result = await testInside(bochsVmx(), parsed, path, context);
    } else {
      const env = await prepareKvm(choice, context);
      if (choice.kvm === "host") {
        progress.note(`testing on this machine's KVM: ${kvmModule(await processor())}`);
      }
      const own = [...await permissionArguments(parsed, cwd), `--junit-path=${path}`];
      const args = ["test", ...own, ...parsed.others];
      try {
        const code = await runDeno(args, {
          cwd,
          env: {
            ...env,
            ...coverage?.environment,
            ...debugging(parsed, progress.note),
            ...reporting(parsed),
            ...parsed.timing ? { [TIMING_VARIABLE]: folder } : {},
          },
          signal,
        });
        result = { code };
      } finally {
        if (coverage !== undefined) {
          writeAll(Deno.stdout, new TextEncoder().encode(coverage.finish()));
        }
      }
    }
    // Nothing comes out of a machine that died.
    if (result.died !== undefined) await Deno.writeTextFile(path, result.died);
    const report = await readReport(path);
    writeAll(
      Deno.stdout,
      new TextEncoder().encode(timing(report ?? "", parsed.timing ? folder : undefined)),
    );
    if (wanted === STANDARD_OUTPUT && report !== undefined) {
      writeAll(Deno.stdout, new TextEncoder().encode(report));
    }
    finishReports(parsed, report ?? "");
    const counts = count(result.code, report);
    writeAll(Deno.stdout, new TextEncoder().encode(`${summary(counts)}\n`));
    return result.code;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
