import { assertEquals, assertThrows } from "@std/assert";
import { parseResults } from "../../lib/bench/results.ts";
import { around, measured, resultsOf } from "./results.ts";

const results = resultsOf([
  measured("a", around(100)),
  { name: "b", group: "memory", what: "b", skipped: "no b here" },
]);

Deno.test("what was written is read", () => {
  assertEquals(parseResults(JSON.stringify(results), "old.json"), results);
});

const text = JSON.stringify(results);
const WRONG: Readonly<Record<string, readonly [text: string, message: string]>> = {
  "is empty": ["", "it is no JSON"],
  "ends early": [text.slice(0, -1), "it is no JSON"],
  "is a number": ["1", "that `vmexit bench --save` has written"],
  "is null": ["null", "that `vmexit bench --save` has written"],
  "is another's": [`{"version":1}`, "that `vmexit bench --save` has written"],
  "has an old version": [
    JSON.stringify({ ...results, version: 0 }),
    "its format has version 0, and this vmexit reads 1. Measure anew: vmexit bench --save old.json",
  ],
  "has another clock": [JSON.stringify({ ...results, clock: "sun" }), "its clock is sun"],
  "has no host": [JSON.stringify({ ...results, fingerprint: {} }), "of which host it is"],
  "has a host of numbers": [
    JSON.stringify({ ...results, fingerprint: { host: { a: 1 }, software: {} } }),
    "of which host it is",
  ],
  "has no benchmarks": [JSON.stringify({ ...results, benchmarks: 1 }), "it has no list"],
  "has a benchmark of nothing": [JSON.stringify({ ...results, benchmarks: [null] }), "has no name"],
  "has half a benchmark": [
    text.replace(/"p50":[\d.]+,/, ""),
    "the figures of a are not whole",
  ],
  "has no interval": [text.replace(/"medianInterval":\[[^\]]*\],/, ""), "of a are not whole"],
};

for (const [what, [wrong, message]] of Object.entries(WRONG)) {
  Deno.test(`a file that ${what} is refused`, () => {
    assertThrows(() => parseResults(wrong, "old.json"), TypeError, message);
    assertThrows(
      () => parseResults(wrong, "old.json"),
      TypeError,
      "Cannot read results from old.json: ",
    );
  });
}
