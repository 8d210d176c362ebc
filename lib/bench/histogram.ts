import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  JsHistogram,
} from "hdr-histogram-js";

/** Bits of a bucket's count. */
const COUNT_BITS = 32;

/** A bucket is at most one in a thousand wide. */
const SIGNIFICANT_DIGITS = 3;

const PICOSECONDS_PER_NANOSECOND = 1000;

/** A range of values, and how many samples lie in it. */
export interface Bucket {
  /** The smallest value that belongs to it, in nanoseconds. */
  readonly from: number;
  /** The first value that does not. */
  readonly to: number;
  /** How many samples. */
  readonly count: number;
}

/**
 * Samples in nanoseconds as a compressed HDR histogram in base64, which any implementation of HdrHistogram reads (version 2
 * of its format). Its values are picoseconds: the mean of a batch has a fraction.
 */
export function encodeHistogram(nanoseconds: ArrayLike<number>): string {
  const histogram = build({
    bitBucketSize: COUNT_BITS,
    autoResize: true,
    numberOfSignificantValueDigits: SIGNIFICANT_DIGITS,
    useWebAssembly: false,
  });
  for (let index = 0; index < nanoseconds.length; index++) {
    histogram.recordValue(Math.round(nanoseconds[index] * PICOSECONDS_PER_NANOSECOND));
  }
  return encodeIntoCompressedBase64(histogram);
}

/**
 * The samples of an {@linkcode encodeHistogram} by buckets of equal width on a logarithmic scale.
 *
 * @param from The start of the first bucket, in nanoseconds, above 0; what is below is counted in it.
 * @param to The end of the last; what is not below is counted in it.
 * @throws {TypeError} When the text is no such histogram.
 */
export function buckets(encoded: string, from: number, to: number, count: number): Bucket[] {
  const step = Math.log(to / from) / count;
  const counts = new Array<number>(count).fill(0);
  for (const { value, samples } of recorded(encoded)) {
    const index = Math.floor(Math.log(value / from) / step);
    counts[Math.min(count - 1, Math.max(0, index))] += samples;
  }
  const edge = (index: number) => from * Math.exp(index * step);
  return counts.map((each, index) => ({ from: edge(index), to: edge(index + 1), count: each }));
}

/**
 * What a histogram has recorded: values in nanoseconds, ascending, each the middle of its HDR bucket.
 *
 * @throws {TypeError} When the text is no such histogram.
 */
export function recorded(encoded: string): { readonly value: number; readonly samples: number }[] {
  const { recordedValuesIterator } = decode(encoded);
  const found: { value: number; samples: number }[] = [];
  for (recordedValuesIterator.reset(); recordedValuesIterator.hasNext();) {
    const { valueIteratedTo, countAtValueIteratedTo } = recordedValuesIterator.next();
    const value = valueIteratedTo / PICOSECONDS_PER_NANOSECOND;
    found.push({ value, samples: countAtValueIteratedTo });
  }
  return found;
}

function decode(encoded: string): JsHistogram {
  const complaint = "Cannot read a histogram: it is no compressed HDR histogram in base64";
  try {
    const histogram = decodeFromCompressedBase64(encoded, COUNT_BITS, false);
    if (histogram instanceof JsHistogram) return histogram;
  } catch (cause) {
    throw new TypeError(complaint, { cause });
  }
  throw new TypeError(complaint);
}
