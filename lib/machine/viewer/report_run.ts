import { HostError } from "../../ffi/errors.ts";
import { relative } from "node:path";
import { callSites } from "../../guest/call_site.ts";
import { LIBRARY } from "../run/run_errors.ts";
import { postmortemOf } from "../report/postmortem.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { ExitTrace } from "./exit_trace.ts";
import { writeReport } from "./report_folder.ts";
import { reportsWanted } from "./reports_wanted.ts";
import { traceReport } from "./trace_report.ts";

type ReportedMachine = StoppedCpu & { readonly mode: string };

/**
 * Writes the report of a machine's run, where a folder for reports is named.
 *
 * @param failure What the test is about to fail with.
 * @returns A paragraph that says where it is, or why there is none: what the test has failed with must not be lost.
 */
export function reportRun(
  machine: ReportedMachine,
  trace: ExitTrace,
  failure?: string,
): string {
  const { folder } = reportsWanted();
  if (folder === undefined) return "";
  try {
    // A run that was to end so needs no search.
    if (failure !== undefined) trace.showCause(() => failingCpu(machine));
    const report = traceReport(machine, trace, { title: testLine(), failure });
    trace.isReported = true;
    return `\n\nreport: ${writeReport(folder, report)}`;
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return `\n\nno report: ${error.message}`;
  }
}

function failingCpu(machine: StoppedCpu): StoppedCpu | undefined {
  const found = postmortemOf(machine);
  return found !== undefined && "cpu" in found ? found.cpu : undefined;
}

/** Writes the report of a machine that is disposed, where all are asked for and it has none of its latest exit. */
export function reportEnd(machine: ReportedMachine, trace: ExitTrace): void {
  if (reportsWanted().all && !trace.isReported) reportRun(machine, trace);
}

/**
 * The line of the test: of the files on the stack that is the outermost, so that a helper which many tests share names none
 * of their reports.
 */
function testLine(): string {
  const site = callSites(testLine, Infinity)
    .findLast(({ url, folder }) => folder !== undefined && !url.startsWith(LIBRARY));
  return site === undefined ? "a guest" : `${shortPath(site.file)}:${site.line}`;
}

function shortPath(path: string): string {
  try {
    const short = relative(Deno.cwd(), path);
    return short.startsWith("..") ? path : short;
  } catch {
    // Where the working directory may not be asked for.
    return path;
  }
}
