import { HostError } from "../../ffi/errors.ts";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { LIBRARY } from "../run/run_errors.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { ExitTrace } from "./exit_trace.ts";
import { writeReport } from "./report_folder.ts";
import { reportFolder } from "./reports_wanted.ts";
import { traceReport } from "./trace_report.ts";

/**
 * Writes the report of a machine's run, where a folder for reports is named.
 *
 * @param failure What the test is about to fail with.
 * @returns A paragraph that says where it is, or why there is none: what the test has failed with must not be lost.
 */
export function reportRun(
  machine: StoppedCpu & { readonly mode: string },
  trace: ExitTrace,
  failure?: string,
): string {
  const folder = reportFolder();
  if (folder === undefined) return "";
  try {
    const report = traceReport(machine, trace, { title: testLine(), failure });
    return `\n\nreport: ${writeReport(folder, report)}`;
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return `\n\nno report: ${error.message}`;
  }
}

const FRAME = /\(?(file:.*):(\d+):\d+\)?$/;
const MOST_FRAMES = 100;

/** The line of the test: the first on the stack that is not the library's. */
function testLine(): string {
  const limit = Error.stackTraceLimit;
  const holder: { stack?: string } = {};
  try {
    Error.stackTraceLimit = MOST_FRAMES;
    Error.captureStackTrace(holder);
  } finally {
    Error.stackTraceLimit = limit;
  }
  for (const row of holder.stack?.split("\n") ?? []) {
    const [, url, line] = FRAME.exec(row.trim()) ?? [];
    if (url === undefined || url.startsWith(LIBRARY)) continue;
    return `${shortPath(fileURLToPath(url))}:${line}`;
  }
  return "a guest";
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
