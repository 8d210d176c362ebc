import type { Change } from "./baseline.ts";
import {
  caveats,
  change,
  CLOCK_NOTES,
  comparisonRows,
  digits,
  duration,
  notesOnMachines,
  uncertainty,
} from "./format.ts";
import { isMeasured, type Results } from "./results.ts";

/**
 * Results as Markdown, for a pull request: what has changed first, then all figures and the host folded away.
 *
 * @param changes Against a baseline, where there is one.
 */
export function markdown(results: Results, changes?: readonly Change[]): string {
  const time = (value: number | undefined) =>
    value === undefined ? "" : duration(value, results.clock);
  const parts = ["### vmexit bench"];
  const note = CLOCK_NOTES[results.clock];
  if (note !== undefined) parts.push(`*${note}*`);
  if (changes !== undefined) {
    const moved = changes.filter(({ verdict }) => verdict !== "same");
    parts.push(`${changes.length - moved.length} of ${changes.length} benchmarks as before`);
    if (moved.length > 0) {
      parts.push(rows([
        ["benchmark", "before", "now", "change", ""],
        ...moved.map(({ name, before, now, ratio, verdict }) => [
          `\`${name}\``,
          time(before),
          time(now),
          ratio === undefined ? "" : change(ratio),
          verdict === "slower" ? `**${verdict}**` : verdict,
        ]),
      ]));
    }
  }
  parts.push(...notesOnMachines(results));
  if (results.comparisons !== undefined) parts.push(rows(comparisonRows(results.comparisons)));
  parts.push(folded(
    "All figures",
    rows([
      ["benchmark", "median", "95%", "p90", "p99", "max", "cycles", ""],
      ...results.benchmarks.map((each) => {
        if (!isMeasured(each)) {
          const why = each.failed === undefined
            ? `skipped: ${each.skipped}`
            : `**failed**: ${each.failed}`;
          return [`\`${each.name}\``, "", "", "", "", "", "", escaped(why)];
        }
        const { p50, p90, p99, max } = each.nanoseconds;
        const cycles = each.cycles === undefined ? "" : digits(each.cycles.p50);
        return [
          `\`${each.name}\``,
          time(p50),
          uncertainty(each),
          time(p90),
          time(p99),
          time(max),
          cycles,
          escaped(caveats(each).join("; ")),
        ];
      }),
    ]),
  ));
  const { host, software } = results.fingerprint;
  parts.push(folded(
    "The host",
    rows([
      ["", ""],
      ...Object.entries({ ...host, ...software }).map(([name, text]) => [name, escaped(text)]),
    ]),
  ));
  return `${parts.join("\n\n")}\n`;
}

/** A table, whose first row is its head: the first column to the left, the others to the right. */
function rows(cells: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]) => `| ${row.join(" | ")} |`;
  const [head, ...body] = cells;
  return [
    line(head),
    line(head.map((_, column) => column === 0 ? "---" : "---:")),
    ...body.map(line),
  ]
    .join("\n");
}

function folded(summary: string, text: string): string {
  return `<details><summary>${summary}</summary>\n\n${text}\n\n</details>`;
}

/** What would end a cell, or begin a tag, said otherwise. */
function escaped(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("\n", " ");
}
