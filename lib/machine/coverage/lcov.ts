/** What was executed, and what of that was not seen. */
export interface LineCounts {
  /** Of each line of each file, in how many machines it was executed. */
  readonly files: Map<string, Map<number, number>>;
  /** In how many machines there was which gap. */
  readonly gaps: Map<string, number>;
}

/** Nothing. */
export function noCounts(): LineCounts {
  return { files: new Map(), gaps: new Map() };
}

/** Adds counts of a line. */
export function addCount(
  { files }: LineCounts,
  file: string,
  line: number,
  count: number,
): void {
  let ofFile = files.get(file);
  if (ofFile === undefined) files.set(file, ofFile = new Map());
  ofFile.set(line, (ofFile.get(line) ?? 0) + count);
}

/** A comment of ours. */
const GAP = /^# gap in (\d+): (.+)$/;

/** Adds a gap of some machines. */
export function addGap({ gaps }: LineCounts, gap: string, machines: number): void {
  gaps.set(gap, (gaps.get(gap) ?? 0) + machines);
}

/** Adds the counts that a text in the format of lcov has (geninfo(1), "FILES"), and what else it has is left out. */
export function readLcov(text: string, counts: LineCounts): void {
  let file = "";
  for (const row of text.split("\n")) {
    const source = /^SF:(.+)$/.exec(row)?.[1];
    const [, line, count] = /^DA:(\d+),(\d+)/.exec(row) ?? [];
    const [, machines, gap] = GAP.exec(row) ?? [];
    if (gap !== undefined) addGap(counts, gap, Number(machines));
    if (source !== undefined) file = source;
    else if (line !== undefined) addCount(counts, file, Number(line), Number(count));
  }
}

/** The same in the format of lcov. */
export function formatLcov({ files, gaps }: LineCounts): string {
  const comments = [...gaps].map(([gap, machines]) => `# gap in ${machines}: ${gap}\n`);
  const records = [...files].sort(([a], [b]) => a < b ? -1 : 1).map(([file, lines]) => {
    const sorted = [...lines].sort(([a], [b]) => a - b);
    const { reached, total } = countLines(lines);
    return [
      "TN:",
      `SF:${file}`,
      ...sorted.map(([line, count]) => `DA:${line},${count}`),
      `LF:${total}`,
      `LH:${reached}`,
      "end_of_record\n",
    ].join("\n");
  });
  return [...comments, ...records].join("");
}

/** How many lines of a file were executed, and how many it has. */
export function countLines(
  lines: ReadonlyMap<number, number>,
): { readonly reached: number; readonly total: number } {
  const reached = [...lines.values()].filter((count) => count > 0).length;
  return { reached, total: lines.size };
}
