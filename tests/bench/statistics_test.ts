import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { median, medianRanks, quantile, summarize } from "../../lib/bench/statistics.ts";

Deno.test("the median of an odd number of samples is the middle one, of an even number the mean of the two", () => {
  assertEquals(median([9, 1, 4]), 4);
  assertEquals(median([9, 1, 4, 5]), 4.5);
  assertEquals(median([7]), 7);
});

Deno.test("no samples, or such as are no numbers, have no summary", () => {
  assertThrows(() => summarize([]), RangeError, "Cannot summarize no samples");
  for (const wrong of [NaN, Infinity, -Infinity]) {
    assertThrows(() => summarize([1, wrong, 2]), RangeError, "not finite");
  }
});

Deno.test("quantiles are samples: the smallest that so many are not greater than", () => {
  const ten = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
  const cases = [[0.01, 10], [0.1, 10], [0.11, 20], [0.5, 50], [0.9, 90], [0.99, 100], [1, 100]];
  for (const [fraction, expected] of cases) assertEquals(quantile(ten, fraction), expected);
});

// Conover, Practical Nonparametric Statistics, table A3: the ranks between which a median lies, as sure as 95 %.
for (
  const [count, low, high] of [
    [1, 0, 0],
    [5, 0, 4],
    [6, 0, 5],
    [8, 0, 7],
    [9, 1, 7],
    [10, 1, 8],
    [15, 3, 11],
    [20, 5, 14],
    [25, 7, 17],
    [50, 17, 32],
    [100, 39, 60],
  ]
) {
  Deno.test(`the median of ${count} lies between ranks ${low} and ${high}`, () => {
    assertEquals(medianRanks(count), [low, high]);
  });
}

Deno.test("where the normal distribution takes over, ranks go on as they were", () => {
  const [low, high] = medianRanks(199);
  const [nextLow, nextHigh] = medianRanks(200);
  assert(Math.abs(low - nextLow) <= 1 && Math.abs(high - nextHigh) <= 1);
  assertEquals(medianRanks(10_000), [4901, 5098]);
});

Deno.test("a summary has what was seen: outliers are counted and left in", () => {
  const samples = [...Array.from({ length: 100 }, (_, index) => 100 + index % 10), 130, 1000, 1];
  const found = summarize(samples);
  assertEquals(found.count, 103);
  assertEquals([found.min, found.p50, found.p90, found.max], [1, 105, 109, 1000]);
  assertEquals(found.outliers, { low: 1, high: 2, severe: 3 });
  assertAlmostEquals(found.mean, samples.reduce((a, b) => a + b) / 103);
});

const samples = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), {
  minLength: 1,
  maxLength: 400,
});

Deno.test("property: a summary is in order, of seen values, and does not depend on the order of samples", () => {
  fc.assert(fc.property(samples, (values) => {
    const before = [...values];
    const found = summarize(values);
    assertEquals(values, before);
    const [low, high] = found.medianInterval;
    const ascending = [found.min, found.p50, found.p90, found.p99, found.max];
    for (let index = 1; index < ascending.length; index++) {
      // The median of two may be the mean of both, and the greater of them p90.
      assert(ascending[index - 1] <= ascending[index]);
    }
    assert(found.min <= low && low <= found.p50 && found.p50 <= high && high <= found.max);
    for (const each of [low, high, found.p90, found.p99]) assert(values.includes(each));
    assertEquals(summarize(values.toReversed()), {
      ...found,
      mean: summarize(values.toReversed()).mean,
    });
    assert(found.outliers.severe <= found.outliers.low + found.outliers.high);
  }));
});

Deno.test("property: figures scale with the unit", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0 }), { minLength: 1 }), (values) => {
    const found = summarize(values);
    const doubled = summarize(values.map((each) => 2 * each));
    assertEquals(doubled.p50, 2 * found.p50);
    assertEquals(
      doubled.medianInterval,
      found.medianInterval.map((each) => 2 * each) as [number, number],
    );
  }));
});

Deno.test("the interval holds the true median of 95 in 100 samples", () => {
  let inside = 0;
  let seed = 11;
  // A linear congruential generator (Numerical Recipes).
  const next = () => (seed = (seed * 1_664_525 + 1_013_904_223) >>> 0) / 2 ** 32;
  for (let trial = 0; trial < 2000; trial++) {
    const [low, high] = summarize(Array.from({ length: 40 }, () => next() ** 3)).medianInterval;
    if (low <= 0.125 && 0.125 <= high) inside++;
  }
  assert(inside > 0.94 * 2000 && inside < 0.985 * 2000, `${inside} of 2000`);
});
