import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64 } from "hdr-histogram-js";
import { buckets, encodeHistogram, recorded } from "../../lib/bench/histogram.ts";

Deno.test("a histogram keeps how many samples there were of what size, to one in a thousand", () => {
  const found = recorded(encodeHistogram([1000, 1000, 12.5, 1e9]));
  assertEquals(found.map(({ samples }) => samples), [1, 2, 1]);
  for (const [index, value] of [12.5, 1000, 1e9].entries()) {
    assert(Math.abs(found[index].value / value - 1) < 0.001, `${found[index].value}`);
  }
});

Deno.test("the library reads what is kept, as picoseconds", () => {
  const histogram = decodeFromCompressedBase64(encodeHistogram([100, 200, 300]), 64, false);
  assertEquals(histogram.totalCount, 3);
  assert(Math.abs(histogram.getValueAtPercentile(50) / 200_000 - 1) < 0.001);
});

Deno.test("buckets are as wide as each other by the logarithm, and lose no sample", () => {
  const found = buckets(encodeHistogram([0.5, 1, 5, 50, 500, 5000]), 1, 1000, 3);
  assertEquals(found.map(({ count }) => count), [3, 1, 2]);
  assertEquals(found.map(({ from, to }) => [Math.round(from), Math.round(to)]), [
    [1, 10],
    [10, 100],
    [100, 1000],
  ]);
});

Deno.test("what is no histogram is refused", () => {
  const other = encodeIntoCompressedBase64(build({ useWebAssembly: false }));
  assertEquals(recorded(other), []);
  for (const text of ["", "no", "AAAA", encodeHistogram([1]).slice(0, 20)]) {
    assertThrows(() => recorded(text), TypeError, "Cannot read a histogram");
  }
});

Deno.test("property: each sample is in the histogram once, in order", () => {
  const value = fc.double({ min: 0.001, max: 1e12, noNaN: true });
  fc.assert(fc.property(fc.array(value, { maxLength: 50 }), (values) => {
    const sorted = values.toSorted((a, b) => a - b);
    const found = recorded(encodeHistogram(values))
      .flatMap(({ value, samples }) => new Array<number>(samples).fill(value));
    assertEquals(found.length, sorted.length);
    for (const [index, each] of found.entries()) {
      assert(Math.abs(each - sorted[index]) <= 0.001 * sorted[index] + 0.001);
    }
  }));
});
