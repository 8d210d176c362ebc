/** How sure {@linkcode Summary.medianInterval} is. */
export const CONFIDENCE = 0.95;

/** The quantile of the normal distribution that leaves half of what {@linkcode CONFIDENCE} leaves on each side. */
const NORMAL_QUANTILE = 1.959963984540054;

/** From so many samples on, the binomial distribution is taken as normal: its sum would only cost time. */
const MANY = 200;

/** Tukey's fences: so many interquartile ranges beyond the quartiles a sample is an outlier, or a severe one. */
const FENCE = 1.5;
const SEVERE_FENCE = 3;

/** Samples that lie far from the others (Tukey's fences). They are counted, and left in. */
export interface Outliers {
  /** More than 1.5 interquartile ranges below the first quartile. */
  readonly low: number;
  /** More than 1.5 interquartile ranges above the third quartile. */
  readonly high: number;
  /** How many of both are more than 3 away. */
  readonly severe: number;
}

/** A distribution in a few numbers, in the unit of the samples. */
export interface Summary {
  /** How many samples there are. */
  readonly count: number;
  /** The smallest. */
  readonly min: number;
  /** The median. */
  readonly p50: number;
  /** 90 of 100 are not greater. */
  readonly p90: number;
  /** 99 of 100 are not greater. */
  readonly p99: number;
  /** The greatest. */
  readonly max: number;
  /** The arithmetic mean. */
  readonly mean: number;
  /**
   * The confidence interval of the median (95 %), by order statistics: no distribution is assumed, but that samples do
   * not depend on each other. With fewer than six samples, where no two ranks are so sure, all that was seen.
   */
  readonly medianInterval: readonly [low: number, high: number];
  /** Samples that lie far from the others. */
  readonly outliers: Outliers;
}

/**
 * The sample that so much of all are not greater than: the nearest rank, always one that was seen.
 *
 * @param sorted Samples in ascending order, at least one.
 * @param fraction Above 0 and at most 1.
 */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)];
}

/**
 * Which two of so many sorted samples the median lies between, as sure as {@linkcode CONFIDENCE}: 0-based ranks. The
 * number of samples below the median has a binomial distribution with p = 1/2, whatever that of the samples.
 *
 * @param count At least 1.
 */
export function medianRanks(count: number): readonly [low: number, high: number] {
  const low = Math.max(0, count >= MANY ? normalRank(count) : binomialRank(count));
  return [low, count - 1 - low];
}

function normalRank(count: number): number {
  return Math.floor((count - NORMAL_QUANTILE * Math.sqrt(count)) / 2) - 1;
}

/** The greatest rank at which no more than half of the doubt lies: the median may be below it. */
function binomialRank(count: number): number {
  let term = 2 ** -count;
  let rank = -1;
  for (let sum = term; sum <= (1 - CONFIDENCE) / 2; sum += term) {
    rank++;
    term *= (count - rank) / (rank + 1);
  }
  return rank;
}

/** Half the samples are above it: of an even number, the mean of the two in the middle. */
function medianOf(sorted: ArrayLike<number>): number {
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The median of some numbers.
 *
 * @throws {RangeError} When there are none.
 */
export function median(samples: ArrayLike<number>): number {
  return medianOf(sortedCopy(samples));
}

function sortedCopy(samples: ArrayLike<number>): Float64Array {
  if (samples.length === 0) throw new RangeError("Cannot summarize no samples");
  const sorted = Float64Array.from(samples).sort();
  // NaN and Infinity are sorted to the end.
  if (!Number.isFinite(sorted[0] + sorted[sorted.length - 1])) {
    throw new RangeError("Cannot summarize samples that are not finite numbers");
  }
  return sorted;
}

/**
 * Describes a distribution.
 *
 * @param samples In any order; they are left alone.
 * @throws {RangeError} When there are none, or one is not finite.
 */
export function summarize(samples: ArrayLike<number>): Summary {
  const sorted = sortedCopy(samples);
  const count = sorted.length;
  const [low, high] = medianRanks(count);
  return {
    count,
    min: sorted[0],
    p50: medianOf(sorted),
    p90: quantile(sorted, 0.9),
    p99: quantile(sorted, 0.99),
    max: sorted[count - 1],
    mean: sorted.reduce((sum, each) => sum + each, 0) / count,
    medianInterval: [sorted[low], sorted[high]],
    outliers: outliersOf(sorted),
  };
}

function outliersOf(sorted: Float64Array): Outliers {
  const first = quantile(sorted, 0.25);
  const third = quantile(sorted, 0.75);
  const range = third - first;
  let low = 0;
  let high = 0;
  let severe = 0;
  for (const each of sorted) {
    if (each < first - FENCE * range) low++;
    else if (each > third + FENCE * range) high++;
    if (each < first - SEVERE_FENCE * range || each > third + SEVERE_FENCE * range) severe++;
  }
  return { low, high, severe };
}
