import { escaped, inScript } from "../../machine/viewer/html.ts";
import type { Change } from "../baseline.ts";
import {
  caveats,
  change,
  CLOCK_NOTES,
  comparisonRows,
  digits,
  duration,
  notesOnMachines,
  uncertainty,
} from "../format.ts";
import { isMeasured, type Measurement, type Results, type Unmeasured } from "../results.ts";
import { type DrawnGroup, drawnGroups } from "./report_data.ts";

/**
 * Results as a page for a browser: one file, which needs no network. Each group's distributions are drawn below each other
 * on one scale, by uPlot.
 *
 * @param changes Against `before`, where there is a baseline.
 */
export async function htmlReport(
  results: Results,
  before?: Results,
  changes: readonly Change[] = [],
): Promise<string> {
  const [plot, plotStyle, page, pageStyle] = await Promise.all([
    import("uplot/dist/uPlot.iife.min.js", { with: { type: "text" } }),
    import("uplot/dist/uPlot.min.css", { with: { type: "text" } }),
    import("./report_page.js", { with: { type: "text" } }),
    import("./report_page.css", { with: { type: "text" } }),
  ].map(async (module) => (await module).default as unknown as string));
  const groups = drawnGroups(results, before);
  const data = { unit: results.clock === "instructions" ? "instructions" : "time", groups };
  const names = [...new Set(results.benchmarks.map(({ group }) => group))];
  const note = CLOCK_NOTES[results.clock];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vmexit bench, ${escaped(results.date.slice(0, 10))}</title>
<style>${plotStyle}\n${pageStyle}</style>
</head>
<body>
<h1>vmexit bench</h1>
<p class="faint">${escaped(summary(results))}</p>
${note === undefined ? "" : `<p class="note">${escaped(note)}</p>`}
${names.map((name) => section(name, results, groups, changes)).join("\n")}
${notesOnMachines(results).map((text) => `<p>${escaped(text)}</p>`).join("\n")}
${comparisons(results)}
${host(results)}
<script id="data" type="application/json">${inScript(JSON.stringify(data))}</script>
<script>${plot}</script>
<script>${page}</script>
</body>
</html>
`;
}

function summary({ date, fingerprint: { host }, benchmarks }: Results): string {
  const measured = benchmarks.filter(isMeasured).length;
  return [
    `${measured} of ${benchmarks.length} benchmarks`,
    date.slice(0, 16).replace("T", " ") + " UTC",
    host.processor,
    host.kernel,
  ]
    .filter((text) => text !== undefined).join(" · ");
}

/** A group's distributions, its tails, and its figures. */
function section(
  name: string,
  results: Results,
  groups: readonly DrawnGroup[],
  changes: readonly Change[],
): string {
  const own = results.benchmarks.filter(({ group }) => group === name);
  const drawn = groups.find((group) => group.name === name);
  const strips =
    drawn?.benchmarks.map((each, index) =>
      `<div class="strip"><span class="name"><code>${
        escaped(each.name)
      }</code><br><span class="faint">` +
      `${escaped(duration(each.p50, results.clock))}</span></span>` +
      `<div data-strip="${index}"></div><div class="hover"></div></div>`
    ) ?? [];
  const hasBaseline = drawn?.benchmarks.some(({ before }) => before !== undefined);
  const legend = "The line is the median, the dashed one p99." +
    (hasBaseline ? " The outline is the baseline." : "");
  return `<section id="${drawn?.id ?? ""}">
<h2>${escaped(name)}</h2>
${strips.length === 0 ? "" : `<p class="faint">${legend}</p>`}
${strips.join("\n")}
${
    strips.length === 0
      ? ""
      : `<details open><summary>By percentile</summary><div data-curves></div></details>`
  }
<div class="scroll"><table>
${
    row("th", [
      "",
      "median",
      "95%",
      "p90",
      "p99",
      "max",
      "cycles",
      ...changes.length > 0 ? ["change"] : [],
    ])
  }
${own.map((each) => figures(each, results, changes)).join("\n")}
</table></div>
</section>`;
}

/** Columns of figures, with their name's. */
const COLUMNS = 7;

function figures(
  each: Measurement | Unmeasured,
  { clock }: Results,
  changes: readonly Change[],
): string {
  const columns = COLUMNS + (changes.length > 0 ? 1 : 0);
  const name = `<td title="${escaped(each.what)}"><code>${escaped(each.name)}</code></td>`;
  if (!isMeasured(each)) {
    const [kind, why] = each.failed === undefined
      ? ["skipped", each.skipped]
      : ["failed", each.failed];
    return `<tr>${name}<td class="text ${kind}" colspan="${columns - 1}">${kind}: ${
      escaped(why ?? "")
    }</td></tr>`;
  }
  const { p50, p90, p99, max } = each.nanoseconds;
  const time = (value: number) => duration(value, clock);
  const moved = changes.find((found) => found.name === each.name);
  const cells = [
    time(p50),
    uncertainty(each),
    time(p90),
    time(p99),
    time(max),
    each.cycles === undefined ? "" : digits(each.cycles.p50),
  ].map((text) => `<td>${escaped(text)}</td>`);
  if (changes.length > 0) {
    const text = moved?.ratio === undefined ? moved?.verdict ?? "" : change(moved.ratio);
    cells.push(`<td class="${moved?.verdict}">${text}</td>`);
  }
  const notes = caveats(each).map((text) =>
    `<tr class="caveat"><td class="faint" colspan="${columns}">${escaped(text)}</td></tr>`
  );
  return `<tr>${name}${cells.join("")}</tr>${notes.join("")}`;
}

function comparisons(results: Results): string {
  if (results.comparisons === undefined) return "";
  const [head, ...body] = comparisonRows(results.comparisons);
  return `<h2>Beside C</h2><div class="scroll"><table>${row("th", ["", ...head.slice(1)])}${
    body.map((cells) => row("td", cells)).join("")
  }</table></div>`;
}

function host({ fingerprint: { host, software } }: Results): string {
  const rows = Object.entries({ ...host, ...software }).map(([name, text]) =>
    `<tr><td>${escaped(name)}</td><td class="text">${escaped(text)}</td></tr>`
  );
  return `<details><summary>The host</summary><table>${rows.join("")}</table></details>`;
}

function row(kind: "th" | "td", cells: readonly string[]): string {
  return `<tr>${cells.map((text) => `<${kind}>${escaped(text)}</${kind}>`).join("")}</tr>`;
}
