import type { Change, Verdict } from "./baseline.ts";
import {
  caveats,
  change,
  CLOCK_NOTES,
  comparisonRows,
  digits,
  duration,
  notesOnMachines,
  sparkline,
  uncertainty,
} from "./format.ts";
import { buckets } from "./histogram.ts";
import { isMeasured, type Measurement, type Results } from "./results.ts";

/** Where a table is shown. */
export interface Terminal {
  /** Characters in a line. */
  readonly width: number;
  /** Whether colours are understood and wanted. */
  readonly colours: boolean;
}

/** The width of a table that goes to no terminal. */
const DEFAULT_WIDTH = 120;

/** Where nobody says for what a table is. */
const PLAIN: Terminal = { width: DEFAULT_WIDTH, colours: false };

const GAP = "  ";
/** What a histogram is worth having from; and where more shows nothing more. */
const LEAST_BARS = 8;
const MOST_BARS = 40;

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;

const VERDICT_STYLES: Readonly<Partial<Record<Verdict, keyof typeof STYLES>>> = {
  slower: "red",
  faster: "green",
};

/** An operation's exits are a whole number; some more come from timers. */
const EXIT_DIGITS = 2;

/** A column; those of less weight are left out first where the terminal is narrow. */
interface Column {
  readonly head: string;
  readonly weight: number;
  text(result: Measurement, results: Results): string;
}

const time =
  (pick: (result: Measurement) => number) => (result: Measurement, { clock }: Results): string =>
    duration(pick(result), clock);

const COLUMNS: readonly Column[] = [
  { head: "median", weight: 9, text: time(({ nanoseconds }) => nanoseconds.p50) },
  { head: "95%", weight: 8, text: uncertainty },
  { head: "p90", weight: 4, text: time(({ nanoseconds }) => nanoseconds.p90) },
  { head: "p99", weight: 6, text: time(({ nanoseconds }) => nanoseconds.p99) },
  { head: "max", weight: 5, text: time(({ nanoseconds }) => nanoseconds.max) },
  {
    head: "cycles",
    weight: 3,
    text: ({ cycles }) => cycles === undefined ? "" : digits(cycles.p50),
  },
  {
    head: "exits",
    weight: 2,
    text: ({ exits }) => exits === undefined ? "" : exits.toFixed(EXIT_DIGITS),
  },
];

/**
 * Results as a table for a terminal: a heading for each group, a line and a small histogram for each benchmark. Its
 * scale is the benchmark's own, from the least to p99.
 *
 * @param terminal By default 120 columns without colours.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { benchExits, resultsTable } from "@vmexit/vmexit/bench";
 *
 * using vm = boot(asm`
 *   out 0x10, al
 *   out 0x10, al
 *   hlt
 * `, { ports: { 0x10: { write: () => {} } } });
 * console.log(resultsTable(benchExits(vm), { width: 80, colours: true }));
 * ```
 */
export function resultsTable(results: Results, terminal: Terminal = PLAIN): string {
  const paint = painter(terminal);
  const measured = results.benchmarks.filter(isMeasured);
  const nameWidth = Math.max(...results.benchmarks.map(({ name }) => name.length), 0);
  const { columns, widths, bars } = layOut(results, measured, terminal.width - nameWidth);
  const lines: string[] = [];
  let group: string | undefined;
  for (const result of results.benchmarks) {
    if (result.group !== group) {
      group = result.group;
      const heads = columns.map(({ head }, index) => GAP + head.padStart(widths[index])).join("");
      const title = group.length > nameWidth
        ? [group, " ".repeat(nameWidth)]
        : [group.padEnd(nameWidth)];
      lines.push("", ...title.slice(0, -1).map((text) => paint(text, "bold")));
      lines.push(paint(title.at(-1)! + heads, title.length === 1 ? "bold" : "dim"));
    }
    const name = result.name.padEnd(nameWidth);
    if (!isMeasured(result)) {
      const isFailed = result.failed !== undefined;
      const why = isFailed ? `failed: ${result.failed}` : `skipped: ${result.skipped}`;
      lines.push(`${name}${GAP}${paint(why, isFailed ? "red" : "dim")}`);
      continue;
    }
    const cells = columns.map((column, index) =>
      GAP + column.text(result, results).padStart(widths[index])
    );
    lines.push(
      `${name}${cells.join("")}${GAP}${paint(histogramOf(result, bars), "dim")}`.trimEnd(),
    );
    lines.push(
      ...caveats(result).map((text) => `${GAP}${paint(`${result.name} ${text}`, "yellow")}`),
    );
  }
  const note = CLOCK_NOTES[results.clock];
  if (note !== undefined) lines.push("", paint(note, "yellow"));
  const notes = notesOnMachines(results);
  if (notes.length > 0) lines.push("", ...notes);
  if (results.comparisons !== undefined) {
    lines.push("", ...aligned(comparisonRows(results.comparisons)));
  }
  return lines.slice(1).join("\n");
}

/** Which columns there is room for, and how long histograms are. */
function layOut(results: Results, measured: readonly Measurement[], room: number) {
  const all = COLUMNS.map((column) => ({
    column,
    width: Math.max(
      column.head.length,
      ...measured.map((result) => column.text(result, results).length),
    ),
  })).filter(({ column }) => measured.some((result) => column.text(result, results) !== ""));
  const taken = () => all.reduce((sum, { width }) => sum + GAP.length + width, GAP.length);
  while (all.length > 2 && taken() + LEAST_BARS > room) {
    const least = Math.min(...all.map(({ column }) => column.weight));
    all.splice(all.findIndex(({ column }) => column.weight === least), 1);
  }
  const left = room - taken();
  return {
    columns: all.map(({ column }) => column),
    widths: all.map(({ width }) => width),
    bars: left < LEAST_BARS ? 0 : Math.min(MOST_BARS, left),
  };
}

function histogramOf({ histogram, nanoseconds: { min, p99 } }: Measurement, bars: number): string {
  if (bars === 0 || min <= 0 || p99 <= min) return "";
  return sparkline(buckets(histogram, min, p99, bars));
}

/** What became of each benchmark, as a table. */
export function changeTable(
  changes: readonly Change[],
  results: Results,
  terminal: Terminal,
): string {
  const paint = painter(terminal);
  const time = (value: number | undefined) =>
    value === undefined ? "" : duration(value, results.clock);
  const rows = [
    ["against the baseline", "before", "now", "change", ""],
    ...changes.map(({ name, before, now, ratio, verdict }) => [
      name,
      time(before),
      time(now),
      ratio === undefined ? "" : change(ratio),
      verdict,
    ]),
  ];
  return aligned(rows).map((line, index) => {
    const style = index === 0 ? "bold" : VERDICT_STYLES[changes[index - 1].verdict];
    return style === undefined ? line : paint(line, style);
  }).join("\n");
}

/** Cells as lines: the first column to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])
    ).join(GAP).trimEnd()
  );
}

function painter({ colours }: Terminal): (text: string, style: keyof typeof STYLES) => string {
  return (text, style) => colours && text !== "" ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
}
