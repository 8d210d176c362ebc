import { HostError } from "../../ffi/errors.ts";
import { writeWhole } from "../../guest/write_whole.ts";
import { inScript } from "./html.ts";
import indexPage from "./index_page.html" with { type: "text" };
import { perfettoTrace } from "./perfetto.ts";
import { REPORT_VARIABLE } from "./reports_wanted.ts";
import { tracePage } from "./trace_page.ts";
import { REPORT_VERSION, type TraceReport } from "./trace_report.ts";

/** The page that lists a folder's reports, and the script that it loads: a call for each of them, the oldest first. */
const INDEX = "index.html";
const LIST = "reports.js";
const FILE_NAME = /^[\w.-]+$/;
const CALL = /^add\((.*)\);$/gm;

/** What the list says of a report. */
interface ListedReport extends Pick<TraceReport, "title" | "test" | "total" | "mode" | "date"> {
  /** The name of its files, without what they end with. */
  readonly name: string;
  /** The first line of what the test has failed with. */
  readonly failure: string | undefined;
}

/** How many reports of a title this process has written. */
const written = new Map<string, number>();

/**
 * Writes a report as a page, as JSON and as a trace for Perfetto, and adds it to the folder's list.
 *
 * @returns The page.
 * @throws {HostError} When it cannot be written.
 */
export function writeReport(folder: string, report: TraceReport): string {
  const count = (written.get(report.title) ?? 0) + 1;
  written.set(report.title, count);
  const name = report.title.replace(/[^\w.-]+/g, "_") + (count === 1 ? "" : `-${count}`);
  try {
    Deno.mkdirSync(folder, { recursive: true });
    writeFiles(folder, name, report);
    // Processes and threads write beside each other: what is appended is whole.
    Deno.writeTextFileSync(`${folder}/${LIST}`, listedCall(name, report), { append: true });
    writeWhole(`${folder}/${INDEX}`, indexPage);
  } catch (error) {
    throw new HostError(
      `Cannot write the report of ${report.title} to ${folder}: ${
        (error as Error).message
      }. Name another folder in ` +
        `${REPORT_VARIABLE}, with --allow-read and --allow-write.`,
      { cause: error },
    );
  }
  return `${folder}/${name}.html`;
}

function filesOf(name: string): { json: string; perfetto: string; page: string } {
  return { json: `${name}.json`, perfetto: `${name}.perfetto.json`, page: `${name}.html` };
}

function writeFiles(folder: string, name: string, report: TraceReport): void {
  const files = filesOf(name);
  writeWhole(`${folder}/${files.json}`, `${JSON.stringify(report)}\n`);
  writeWhole(`${folder}/${files.perfetto}`, perfettoTrace(report));
  writeWhole(`${folder}/${files.page}`, tracePage(report, files));
}

/** Makes a folder for the reports of a run, and removes those of an earlier one. */
export function beginReports(folder: string): void {
  Deno.mkdirSync(folder, { recursive: true });
  for (const { name } of listedReports(folder)) removeReport(folder, name);
  removeFile(`${folder}/${LIST}`);
}

/**
 * Tells reports what the machine did not know, and removes those that nobody wants.
 *
 * @param told The test, and what it has failed with; undefined where the report is to go.
 */
export function finishReports(
  folder: string,
  told: (listed: ListedReport) => Pick<TraceReport, "test" | "failure"> | undefined,
): void {
  const listed = listedReports(folder);
  if (listed.length === 0) return;
  const calls = listed.map((each) => {
    const { name } = each;
    const more = told(each);
    const report = more && readReport(folder, name);
    if (report === undefined) {
      removeReport(folder, name);
      return "";
    }
    const { test = report.test, failure = report.failure } = more!;
    const finished = { ...report, test, failure };
    if (test !== report.test || failure !== report.failure) writeFiles(folder, name, finished);
    return listedCall(name, finished);
  });
  writeWhole(`${folder}/${LIST}`, calls.join(""));
}

/** The list of a folder, the latest of each name. */
function listedReports(folder: string): ListedReport[] {
  const reports = new Map<string, ListedReport>();
  for (const [, json] of (readText(`${folder}/${LIST}`) ?? "").matchAll(CALL)) {
    const listed = parsed<ListedReport>(json);
    if (listed === undefined || !FILE_NAME.test(listed.name)) continue;
    reports.delete(listed.name);
    reports.set(listed.name, listed);
  }
  return [...reports.values()];
}

/** The reports of a folder, each read when it is asked for. */
export function* readReports(folder: string): Generator<TraceReport> {
  for (const { name } of listedReports(folder)) {
    const report = readReport(folder, name);
    if (report !== undefined) yield report;
  }
}

/** Undefined where it is gone, or of another version. */
function readReport(folder: string, name: string): TraceReport | undefined {
  const text = readText(`${folder}/${name}.json`);
  const report = text === undefined ? undefined : parsed<TraceReport>(text);
  return report?.version === REPORT_VERSION ? report : undefined;
}

/** JSON's value; undefined where it is none: a disk that was full may have cut it off. */
function parsed<Value>(json: string): Value | undefined {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function removeReport(folder: string, name: string): void {
  for (const file of Object.values(filesOf(name))) removeFile(`${folder}/${file}`);
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function listedCall(
  name: string,
  { title, test, failure, total, mode, date }: TraceReport,
): string {
  const [first] = failure?.split("\n") ?? [];
  const listed: ListedReport = { name, title, test, failure: first, total, mode, date };
  return `add(${inScript(JSON.stringify(listed))});\n`;
}
