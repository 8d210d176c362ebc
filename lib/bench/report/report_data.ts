import type { BenchmarkGroup } from "../benchmark.ts";
import { buckets, recorded } from "../histogram.ts";
import { isMeasured, type Measurement, type Results } from "../results.ts";

/** Steps of a group's scale: about one for three pixels. */
const STEPS = 240;

/** How far a scale goes beyond what it shows. */
const MARGIN = 1.05;

/** Steps of a curve by percentile, for each factor of ten. */
const CURVE_STEPS = 40;

/** 99.9 is no binary fraction. */
const ROUNDING = 1e-9;

const TICKS = [0, 50, 90, 99, 99.9, 99.99, 99.999] as const;

/** A benchmark as it is drawn. */
export interface DrawnBenchmark {
  readonly name: string;
  readonly p50: number;
  readonly p99: number;
  /** Percent of the samples in each step of the group's scale. */
  readonly shares: readonly number[];
  /** The same of the baseline. */
  readonly before?: readonly number[];
  /** Nanoseconds at each of the group's percentiles; null where there are too few samples to tell. */
  readonly curve: readonly (number | null)[];
}

/** The benchmarks of a group, on one scale. */
export interface DrawnGroup {
  readonly id: string;
  readonly name: BenchmarkGroup;
  /** Where the steps of the scale begin and end, in nanoseconds. */
  readonly edges: readonly number[];
  /** Percentiles, each as how many factors of ten it leaves above it: 1 is p90, 2 is p99. */
  readonly percentiles: readonly number[];
  readonly percentileTicks: readonly (readonly [at: number, text: string])[];
  readonly benchmarks: readonly DrawnBenchmark[];
}

/** Results as the page's script draws them. */
export function drawnGroups(results: Results, before: Results | undefined): DrawnGroup[] {
  const measured = results.benchmarks.filter(isMeasured);
  const earlier = new Map(before?.benchmarks.filter(isMeasured).map((each) => [each.name, each]));
  const groups = [...new Set(measured.map(({ group }) => group))];
  return groups.map((name, index) => {
    const own = measured.filter(({ group }) => group === name);
    const shown = own.flatMap((each) => [each, earlier.get(each.name) ?? each]);
    // What took no time that the clock could tell has no place on a logarithmic scale.
    const from = Math.min(...shown.map(({ nanoseconds: { min } }) => Math.max(min, 0.001))) /
      MARGIN;
    const to = Math.max(...shown.map(({ nanoseconds: { p99 } }) => p99)) * MARGIN;
    const most = Math.log10(Math.max(...own.map(({ nanoseconds: { count } }) => count)));
    const percentiles = Array.from(
      { length: Math.floor(most * CURVE_STEPS) + 1 },
      (_, step) => step / CURVE_STEPS,
    );
    const scale = buckets(own[0].histogram, from, to, STEPS);
    return {
      id: `group-${index}`,
      name,
      edges: [from, ...scale.map((bucket) => bucket.to)],
      percentiles,
      percentileTicks: TICKS.map((percent) => [tail(percent), `${percent}%`] as const)
        .filter(([at]) => at <= most + ROUNDING),
      benchmarks: own.map((each) => ({
        name: each.name,
        p50: each.nanoseconds.p50,
        p99: each.nanoseconds.p99,
        shares: shares(each, from, to),
        ...earlier.has(each.name) ? { before: shares(earlier.get(each.name)!, from, to) } : {},
        curve: curve(each, percentiles),
      })),
    };
  });
}

function tail(percent: number): number {
  return Math.log10(100 / (100 - percent));
}

function shares({ histogram, nanoseconds }: Measurement, from: number, to: number): number[] {
  return buckets(histogram, from, to, STEPS)
    .map(({ count }) => Math.round(count / nanoseconds.count * 1e5) / 1e3);
}

/** The smallest value that so many of all are not greater than, at each percentile. */
function curve(
  { histogram, nanoseconds: { count } }: Measurement,
  percentiles: readonly number[],
): (number | null)[] {
  const values = recorded(histogram);
  let at = 0;
  let below = values[0].samples;
  return percentiles.map((factors) => {
    const above = 10 ** -factors;
    if (above * count < 1) return null;
    while (below < (1 - above) * count && at + 1 < values.length) below += values[++at].samples;
    return values[at].value;
  });
}
