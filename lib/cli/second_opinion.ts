import { join } from "node:path";
import type { KvmChoice } from "../kvm/remote/kvm_choice.ts";
import { NestedError } from "../nested/mod.ts";
import { readReports } from "../machine/viewer/report_folder.ts";
import type { TraceReport } from "../machine/viewer/trace_report.ts";
import type { CommandContext } from "./command_context.ts";
import { outcomes } from "./junit.ts";
import { chooseKvm } from "./prepare_kvm.ts";
import { writeAll } from "./run_deno.ts";

/** The option of `vmexit test`. */
export const SECOND_OPINION_OPTION = "--second-opinion";

/** The machine that is asked beside: its processor is of another vendor, and emulated by another program. */
const SECOND: KvmChoice = { kvm: "bochs-vmx", because: "it is asked for a second opinion" };

/** What one of the machines says: how tests came out, and what guests did. */
interface Opinion {
  readonly name: string;
  readonly code: number;
  readonly outcomes: ReadonlyMap<string, string>;
  readonly reports: ReadonlyMap<string, TraceReport>;
}

/** Where both differ, in words. */
interface Difference {
  readonly what: string;
  readonly said: readonly string[];
}

/**
 * `vmexit test --second-opinion`: runs the same tests on the other emulated machine as well, and tells which came out
 * otherwise, or whose guests made other exits, and the manuals' rule where it is known.
 *
 * @param args The other arguments.
 * @param test Runs tests.
 * @returns The exit code of the tests on the machine that is used without it; 1 where that is 0 and both differ.
 */
export async function secondOpinion(
  args: readonly string[],
  context: CommandContext,
  test: (args: readonly string[], context: CommandContext, choice: KvmChoice) => Promise<number>,
): Promise<number> {
  const choice = chooseKvm(context);
  if (choice.kvm === SECOND.kvm) {
    throw new NestedError(
      `Cannot ask ${SECOND.kvm} for a second opinion on itself: leave VMEXIT_KVM out`,
    );
  }
  const folder = await Deno.makeTempDir({ prefix: "vmexit-opinion-" });
  const ask = async (choice: KvmChoice): Promise<Opinion> => {
    const [reports, junit] = [join(folder, choice.kvm), join(folder, `${choice.kvm}.xml`)];
    const code = await test(
      [`--report=${reports}`, "--report-all", `--junit-path=${junit}`, ...args],
      context,
      choice,
    );
    return {
      name: choice.kvm,
      code,
      outcomes: outcomes(await Deno.readTextFile(junit)),
      reports: byTest(readReports(reports)),
    };
  };
  try {
    const one = await ask(choice);
    context.progress.note(`asking ${SECOND.kvm} for a second opinion`);
    const other = await ask(SECOND);
    const found = differences(one, other);
    writeAll(Deno.stdout, new TextEncoder().encode(text(one, other, found)));
    return one.code !== 0 ? one.code : found.length > 0 ? 1 : 0;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Reports by their tests: that of a test that fails begins at another line. */
function byTest(reports: Iterable<TraceReport>): Map<string, TraceReport> {
  const counts = new Map<string, number>();
  return new Map([...reports].map((report) => {
    const name = report.test ?? report.title;
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    return [`${name} ${count}`, report];
  }));
}

/** What both have run, and came to another end, or made other exits. */
export function differences(one: Opinion, other: Opinion): Difference[] {
  const both = [one, other];
  const tests = [...one.outcomes].flatMap(([what, outcome]) => {
    const theirs = other.outcomes.get(what);
    const isRun = [outcome, theirs].every((each) => each === "passed" || each === "failed");
    return !isRun || outcome === theirs
      ? []
      : [{ what, said: both.map(({ name, outcomes }) => `${name}: ${outcomes.get(what)}`) }];
  });
  const guests = [...one.reports].flatMap(([name, report]) => {
    const theirs = other.reports.get(name);
    const said = theirs && firstDifference(report, theirs);
    return said === undefined ? [] : [{
      what: report.test ?? report.title,
      said: said.map((each, at) => `${both[at].name}: ${each}`),
    }];
  });
  return [...tests, ...guests];
}

/** The first exit that is another; undefined where there is none. Steps and stops are the test's own. */
function firstDifference(one: TraceReport, other: TraceReport): string[] | undefined {
  const [ours, theirs] = [one, other].map(({ exits }) =>
    exits.filter(({ reason }) => reason !== "DEBUG")
  );
  for (let index = 0; index < Math.max(ours.length, theirs.length); index++) {
    const pair = [ours[index], theirs[index]];
    if (pair[0]?.text === pair[1]?.text) continue;
    return pair.map((exit, at) => {
      if (exit === undefined) return `no exit ${index + 1}`;
      const why = whyOf([one, other][at]);
      return `exit ${exit.number} ${exit.text}${why === undefined ? "" : ` (${why})`}`;
    });
  }
  return undefined;
}

const CHAIN = /\nwhat happened\n {4}(.*(?:\n {6}.*)*)/;

/** The rule that the guest has broken, where its page has one, else what it has failed with. */
function whyOf({ failure }: TraceReport): string | undefined {
  const [, rule] = CHAIN.exec(failure ?? "") ?? [];
  return rule?.replaceAll(/\n +/g, " ") ?? failure?.split("\n")[0];
}

function text(one: Opinion, other: Opinion, found: readonly Difference[]): string {
  const shared =
    [...one.outcomes].filter(([what, outcome]) =>
      outcome !== "skipped" && ["passed", "failed"].includes(other.outcomes.get(what) ?? "")
    ).length;
  const head = `second opinion: ${shared} tests ran on ${one.name} and on ${other.name}; `;
  if (found.length === 0) return `${head}they agree\n`;
  const rows = found.map(({ what, said }) =>
    `${what}\n${said.map((each) => `    ${each}\n`).join("")}`
  );
  return `${head}they differ in ${found.length}\n${rows.join("")}`;
}
