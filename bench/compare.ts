/** How long a number of equal operations took. */
export interface Measurement {
  /** How many there were. */
  readonly operations: number;
  /** How long all of them took. */
  readonly nanoseconds: number;
}

/** One of the things that are compared. */
export interface Contender {
  /** What the table calls it. */
  readonly name: string;
  /** Does the work once, and says how long the part to be compared took. */
  measure(operations: number): Measurement;
}

/** The middle of some numbers, and how far from it they were. */
export interface Summary {
  /** The median. */
  readonly median: number;
  /** The smallest. */
  readonly minimum: number;
  /** The largest. */
  readonly maximum: number;
}

/** What a comparison found. */
export interface Comparison {
  /** Operations per second of the contender. */
  readonly contender: Summary;
  /** Operations per second of what it is compared with. */
  readonly baseline: Summary;
  /** Of each round, the contender's operations per second divided by the baseline's. */
  readonly ratio: Summary;
}

const NANOSECONDS_PER_SECOND = 1e9;

/**
 * Measures two contenders in turns, so that what slows the machine down for a while slows both; the one that begins
 * changes with every round. A first round, which warms up, is not counted.
 */
export function compare(
  contender: Contender,
  baseline: Contender,
  options: { rounds: number; operations: number },
): Comparison {
  const rates = { contender: [] as number[], baseline: [] as number[] };
  const pair = { contender, baseline };
  for (let round = 0; round <= options.rounds; round++) {
    const order = ["contender", "baseline"] as const;
    for (const which of round % 2 === 0 ? order : order.toReversed()) {
      const rate = perSecond(pair[which].measure(options.operations));
      if (round > 0) rates[which].push(rate);
    }
  }
  return {
    contender: summarize(rates.contender),
    baseline: summarize(rates.baseline),
    ratio: summarize(rates.contender.map((rate, round) => rate / rates.baseline[round])),
  };
}

/** Operations per second. */
export function perSecond({ operations, nanoseconds }: Measurement): number {
  return operations * NANOSECONDS_PER_SECOND / nanoseconds;
}

/**
 * The median, the smallest and the largest.
 *
 * @throws {RangeError} When there are no numbers.
 */
export function summarize(numbers: readonly number[]): Summary {
  if (numbers.length === 0) {
    throw new RangeError("Cannot summarize no numbers: measure at least one round");
  }
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = Number.isInteger(middle)
    ? (sorted[middle - 1] + sorted[middle]) / 2
    : sorted[Math.floor(middle)];
  return { median, minimum: sorted[0], maximum: sorted[sorted.length - 1] };
}

const NAME_WIDTH = 20;

function row(name: string, { median, minimum, maximum }: Summary, digits: number): string {
  const figures = [median, minimum, maximum].map((figure) =>
    figure.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
      .padStart(12)
  );
  return name.padEnd(NAME_WIDTH) + figures.join("");
}

/** Prints a comparison as a table. */
export function printComparison(
  contender: Pick<Contender, "name">,
  baseline: Pick<Contender, "name">,
  found: Comparison,
): void {
  const heads = ["median", "least", "most"].map((name) => name.padStart(12));
  console.log(" ".repeat(NAME_WIDTH) + heads.join(""));
  console.log(row(contender.name, found.contender, 0));
  console.log(row(baseline.name, found.baseline, 0));
  console.log(row("ratio", found.ratio, 3));
}
