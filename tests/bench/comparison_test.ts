import { assertEquals, assertThrows } from "@std/assert";
import type { BenchmarkRun } from "../../lib/bench/benchmark.ts";
import { compare, type Comparison, median } from "../../bench/comparison.ts";

const COMPARISON: Comparison = {
  name: "scripted",
  what: "what the test says",
  baseline: "scripted.c",
  operations: 10,
  warmUp: 20,
  goal: 1,
};

/** A vmexit that takes so many nanoseconds for 10 operations, batch after batch, and notes its turns. */
function scripted(nanoseconds: readonly number[], turns: string[]): BenchmarkRun {
  let batch = 0;
  return {
    batch(operations) {
      turns.push(`vmexit ${operations}`);
      return { operations, nanoseconds: nanoseconds[batch++] };
    },
    [Symbol.dispose]: () => void turns.push("disposed"),
  };
}

Deno.test("the median is a number that was measured", () => {
  assertEquals(median([9, 1, 4]), 4);
  assertEquals(median([9, 1, 4, 5]), 4);
  assertThrows(() => median([]), RangeError, "Cannot take the median of no numbers");
});

Deno.test("C and vmexit take turns, what warms up does not count, and the median batch of each is compared", () => {
  const turns: string[] = [];
  const reports = ["[100,100,900]", "[90,110,100]"];
  const start = () => scripted([9_999, 9_999, 150, 150, 7_000, 140, 150, 160], turns);
  const found = compare(COMPARISON, start, {
    rounds: 2,
    batches: 3,
    run(source, ...args) {
      turns.push(`${source} ${args.join(" ")}`);
      return `{"operations":10,"nanoseconds":${reports.shift()}}`;
    },
  });
  const ours = ["vmexit 10", "vmexit 10", "vmexit 10"];
  assertEquals(turns, [
    ...ours.slice(1),
    ...["scripted.c 10 3", ...ours],
    ...["scripted.c 10 3", ...ours],
    "disposed",
  ]);
  assertEquals(found, { c: 10, vmexit: 15, ratio: 1.5 });
});
