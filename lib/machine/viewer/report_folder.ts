import { HostError } from "../../ffi/errors.ts";
import { writeWhole } from "../../guest/write_whole.ts";
import { perfettoTrace } from "./perfetto.ts";
import { REPORT_VARIABLE } from "./reports_wanted.ts";
import { escaped } from "./html.ts";
import { tracePage } from "./trace_page.ts";
import { REPORT_VERSION, type TraceReport } from "./trace_report.ts";

const INDEX = "index.html";
const JSON_ENDING = ".json";

/** How many reports of a title this process has written. */
const written = new Map<string, number>();

/**
 * Writes a report as a page, as JSON and as a trace for Perfetto, and the index anew.
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
    writeIndex(folder);
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

function writeFiles(folder: string, name: string, report: TraceReport): void {
  const files = { json: `${name}${JSON_ENDING}`, perfetto: `${name}.perfetto${JSON_ENDING}` };
  writeWhole(`${folder}/${files.json}`, `${JSON.stringify(report)}\n`);
  writeWhole(`${folder}/${files.perfetto}`, perfettoTrace(report));
  writeWhole(`${folder}/${name}.html`, tracePage(report, files));
}

/**
 * Gives reports the names of their tests, which the machine does not know.
 *
 * @param nameOf The name of the test that has failed at a line, or began there.
 */
export function nameReports(
  folder: string,
  nameOf: (report: TraceReport) => string | undefined,
): void {
  for (const { name, report } of readReports(folder)) {
    const test = nameOf(report);
    if (test !== undefined) writeFiles(folder, name, { ...report, test });
  }
  writeIndex(folder);
}

/** The reports in a folder, the latest first. */
export function readReports(
  folder: string,
): { readonly name: string; readonly report: TraceReport }[] {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => name.endsWith(JSON_ENDING) && !name.endsWith(`.perfetto${JSON_ENDING}`));
  return names.flatMap((file) => {
    try {
      const report = JSON.parse(Deno.readTextFileSync(`${folder}/${file}`)) as TraceReport;
      if (report.version !== REPORT_VERSION) return [];
      return [{ name: file.slice(0, -JSON_ENDING.length), report }];
    } catch (error) {
      // Another process writes it at this moment, or it is none of ours.
      if (error instanceof SyntaxError || error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }).sort((one, other) => one.report.date < other.report.date ? 1 : -1);
}

function writeIndex(folder: string): void {
  const rows = readReports(folder).map(
    ({ name, report: { title, test, failure, total, mode, date } }) => {
      const [first] = (failure ?? "").split("\n");
      const cells = [
        `<a href="${escaped(name)}.html">${escaped(test ?? title)}</a>`,
        failure === undefined ? `<span class="well">passed</span>` : escaped(first),
        escaped(title),
        `${total} exits`,
        escaped(mode),
        escaped(date.slice(0, 19).replace("T", " ")),
      ];
      return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
    },
  );
  writeWhole(
    `${folder}/${INDEX}`,
    `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vmexit: reports of tests</title>
<style>
:root { color-scheme: light dark; }
body { font: 14px/1.6 system-ui, sans-serif; margin: 24px; }
td { border-bottom: 1px solid #8884; padding: 4px 16px 4px 0; vertical-align: top; }
.well { color: light-dark(#1b7f3b, #7bd88f); }
</style>
</head>
<body>
<h1>Reports of tests</h1>
<table>
${rows.join("\n")}
</table>
</body>
</html>
`,
  );
}
