import { assertEquals, assertThrows } from "@std/assert";
import { compare, type Contender, perSecond, summarize } from "../../bench/compare.ts";

/** A contender that took so many nanoseconds, round after round, and notes its turn. */
function scripted(name: string, nanoseconds: readonly number[], turns: string[]): Contender {
  let round = 0;
  return {
    name,
    measure(operations) {
      turns.push(name);
      return { operations, nanoseconds: nanoseconds[round++] };
    },
  };
}

Deno.test("the median of an odd number of figures is the middle one", () => {
  assertEquals(summarize([9, 1, 4]), { median: 4, minimum: 1, maximum: 9 });
});

Deno.test("the median of an even number of figures lies between the two in the middle", () => {
  assertEquals(summarize([9, 1, 4, 5]), { median: 4.5, minimum: 1, maximum: 9 });
});

Deno.test("no figures have no median", () => {
  assertThrows(() => summarize([]), RangeError, "Cannot summarize no numbers");
});

Deno.test("two thousand operations in a millisecond are two million a second", () => {
  assertEquals(perSecond({ operations: 2_000, nanoseconds: 1_000_000 }), 2_000_000);
});

Deno.test("contenders take turns, begin by turns, and the first round does not count", () => {
  const turns: string[] = [];
  const found = compare(
    scripted("ours", [999_999, 200, 400, 100], turns),
    scripted("C", [1, 100, 100, 100], turns),
    { rounds: 3, operations: 10 },
  );
  assertEquals(turns, ["ours", "C", "C", "ours", "ours", "C", "C", "ours"]);
  assertEquals(found, {
    contender: { median: 50_000_000, minimum: 25_000_000, maximum: 100_000_000 },
    baseline: { median: 100_000_000, minimum: 100_000_000, maximum: 100_000_000 },
    ratio: { median: 0.5, minimum: 0.25, maximum: 1 },
  });
});
