import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Benchmark } from "../../lib/bench/benchmark.ts";
import { HeardResults } from "../../lib/cli/heard_results.ts";
import { NestedError } from "../../lib/nested/mod.ts";
import { measured, resultsOf } from "../bench/results.ts";

const NAMES = ["first", "second", "third"];
const { clock, fingerprint } = resultsOf([]);

/** A suite of three of which nothing is started. */
function heardOf(): HeardResults {
  const start = () => {
    throw new Error("nothing is started here");
  };
  return new HeardResults(
    NAMES.map((name): Benchmark => ({ name, group: "memory", what: `what ${name} is`, start })),
  );
}

/** A machine that says what it measures, and dies in some of it. */
function machine(heard: HeardResults, deadly: readonly string[], runs: number[]) {
  return (from: number): Promise<void> => {
    runs.push(from);
    heard.hear({ on: { clock, fingerprint } });
    for (const name of NAMES.slice(from)) {
      heard.hear({ begins: name });
      if (deadly.includes(name)) {
        return Promise.reject(new NestedError(`The machine is frozen\nand this is its console`));
      }
      heard.hear({ ended: measured(name, [1]) });
    }
    return Promise.resolve();
  };
}

Deno.test("a benchmark that ends its machine has failed, and the others are measured in another", async () => {
  const heard = heardOf();
  const runs: number[] = [];
  const notes: string[] = [];
  await heard.measureInside(
    machine(heard, ["first", "third"], runs),
    (message) => notes.push(message),
  );
  assertEquals(runs, [0, 1]);
  assertEquals(heard.results.benchmarks.map((each) => [each.name, "failed" in each]), [
    ["first", true],
    ["second", false],
    ["third", true],
  ]);
  assertEquals(heard.results.benchmarks[0], {
    name: "first",
    group: "memory",
    what: "what first is",
    failed: "The machine is frozen",
  });
  assertEquals([heard.results.clock, heard.results.fingerprint], [clock, fingerprint]);
  assertEquals(
    notes,
    ["first", "third"].map((name) =>
      `${name} has ended its machine: The machine is frozen\nand this is its console`
    ),
  );
});

Deno.test("a machine that dies before a benchmark, or between two, ends the suite, and so does what is no machine's", async () => {
  const heard = heardOf();
  const failing = (error: Error) => () =>
    heard.measureInside(() => Promise.reject(error), () => {});
  await assertRejects(failing(new NestedError("no machine")), NestedError, "no machine");
  assertThrows(() => heard.results, TypeError, "nothing was heard");
  heard.hear({ begins: "first" });
  await assertRejects(failing(new TypeError("another host")), TypeError, "another host");
  heard.hear({ ended: measured("first", [1]) });
  await assertRejects(failing(new NestedError("between")), NestedError, "between");
});
