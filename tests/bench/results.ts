import { encodeHistogram } from "../../lib/bench/histogram.ts";
import type { Measurement, Results } from "../../lib/bench/results.ts";
import { summarize } from "../../lib/bench/statistics.ts";

/** A benchmark that took so long each time. */
export function measured(
  name: string,
  nanoseconds: readonly number[],
  others: Partial<Measurement> = {},
): Measurement {
  return {
    name,
    group: "exits to user space",
    what: `what ${name} is`,
    sample: "batch",
    operations: 10,
    nanoseconds: summarize(nanoseconds),
    histogram: encodeHistogram(nanoseconds),
    warmUp: { operations: 100, isSteady: true },
    ...others,
  };
}

/** So many samples around a value, a hundredth from end to end. */
export function around(value: number, count = 55): number[] {
  return Array.from({ length: count }, (_, index) => value * (1 + (index % 11 - 5) / 1000));
}

/** Results of a host of which two things are known. */
export function resultsOf(
  benchmarks: Results["benchmarks"],
  others: Partial<Results> = {},
): Results {
  return {
    format: "vmexit-bench",
    version: 1,
    date: "2026-11-28T12:00:00.000Z",
    clock: "hardware",
    fingerprint: {
      host: { processor: "A <fast> one", microcode: "0x17" },
      software: { vmexit: "0.1.0", deno: "2.9.6" },
    },
    benchmarks,
    ...others,
  };
}
