import { assert, assertEquals } from "@std/assert";
import { suite } from "../../../lib/bench/suite/mod.ts";

/** Enough that what begins and ends a batch would show in its mean. */
const OPERATIONS = 20;

Deno.test("no two benchmarks have the same name", () => {
  const names = suite.map(({ name }) => name);
  assertEquals(names, [...new Set(names)]);
});

for (const { name, lacks, start } of suite) {
  Deno.test(`${name} does as many operations as it is asked for, again and again`, () => {
    const lacking = lacks?.();
    if (lacking !== undefined) return console.log(`lacking: ${lacking}`);
    using run = start();
    for (const operations of [1, OPERATIONS, 1]) {
      const batch = run.batch(operations);
      assertEquals(batch.operations, operations);
      assert(batch.nanoseconds > 0, `${batch.nanoseconds} ns`);
      if (batch.cycles === undefined) continue;
      assert(batch.cycles > 0, `${batch.cycles} cycles`);
      assert(run.tscKhz! > 0, `${run.tscKhz} kHz`);
    }
    if (run.batch(1).each !== undefined) {
      assertEquals(run.batch(OPERATIONS).each!.length, OPERATIONS);
    }
  });
}
