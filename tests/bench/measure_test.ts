import { assert, assertEquals, assertRejects } from "@std/assert";
import { asm, boot } from "@vmexit/vmexit";
import type { Batch, Benchmark } from "../../lib/bench/benchmark.ts";
import { clockGrain, type Effort, measure } from "../../lib/bench/measure.ts";
import { isMeasured, type Measurement } from "../../lib/bench/results.ts";
import { recorded } from "../../lib/bench/histogram.ts";

const EFFORT: Effort = {
  batch: 1,
  mostOperations: 2 ** 24,
  warmUp: 20,
  warmUpOperations: 100,
  longestWarmUp: 200,
  duration: 50,
  batches: 12,
  limit: 10_000,
};
const OPTIONS = { effort: EFFORT, grain: 200 };

/** A benchmark that takes no time but says how long it took, and counts what was asked of it. */
function scripted(batch: (operations: number, before: number) => Partial<Batch>) {
  const asked: number[] = [];
  let disposed = 0;
  const benchmark: Benchmark = {
    name: "scripted",
    group: "memory",
    what: "a script",
    start: () => ({
      tscKhz: 1_000_000,
      batch(operations) {
        const before = asked.reduce((sum, each) => sum + each, 0);
        asked.push(operations);
        return { operations, nanoseconds: operations, ...batch(operations, before) };
      },
      [Symbol.dispose]: () => void disposed++,
    }),
  };
  return { benchmark, asked, disposals: () => disposed };
}

async function measured(benchmark: Benchmark, options = OPTIONS): Promise<Measurement> {
  const found = await measure(benchmark, options);
  assert(isMeasured(found), JSON.stringify(found));
  return found;
}

Deno.test("a batch is long beside the clock's grain, and as long as is asked for", async () => {
  const { benchmark, asked } = scripted((operations) => ({ nanoseconds: operations * 100 }));
  const found = await measured(benchmark);
  // 1 ms by 100 ns: the next power of two.
  assertEquals(found.operations, 16384);
  assertEquals(asked.slice(0, 9), [1, 1, 1, 2, 2, 2, 4, 4, 4]);
  assertEquals((await measured(benchmark, { ...OPTIONS, grain: 10_000 })).operations, 131072);
  const effort = { ...EFFORT, mostOperations: 512 };
  assertEquals((await measured(benchmark, { ...OPTIONS, effort })).operations, 512);
});

Deno.test("a first batch that is slow does not make batches short", async () => {
  const { benchmark } = scripted((operations, before) => ({
    nanoseconds: before === 0 ? 1e9 : operations * 1000,
  }));
  assertEquals((await measured(benchmark)).operations, 1024);
});

Deno.test("what warms up is not counted", async () => {
  const { benchmark } = scripted((operations, before) => ({
    nanoseconds: operations * (before < 20_000 ? 10_000 : 1000),
  }));
  const { nanoseconds, warmUp } = await measured(benchmark, {
    ...OPTIONS,
    effort: { ...EFFORT, warmUpOperations: 20_000, longestWarmUp: 1000 },
  });
  assertEquals([nanoseconds.min, nanoseconds.p50, nanoseconds.max], [1000, 1000, 1000]);
  assert(warmUp!.isSteady && warmUp!.operations >= 20_000, JSON.stringify(warmUp));
});

Deno.test("what never becomes steady is counted and says so", async () => {
  const { benchmark } = scripted((operations, before) => ({
    nanoseconds: operations * 1000 * (1 + before / 1000),
  }));
  assertEquals((await measured(benchmark)).warmUp?.isSteady, false);
});

Deno.test("samples are means of batches, in nanoseconds and cycles, and all of them are in the histogram", async () => {
  const { benchmark } = scripted((operations) => ({
    nanoseconds: operations * 2000,
    cycles: operations * 5000,
    exits: operations * 2 + 1,
  }));
  const found = await measured(benchmark);
  const { nanoseconds, cycles, tscKhz, sample, histogram } = found;
  assertEquals(found.exits, 2 + 1 / found.operations);
  assertEquals([nanoseconds.p50, cycles?.p50, tscKhz, sample], [2000, 5000, 1_000_000, "batch"]);
  const samples = recorded(histogram).reduce((sum, each) => sum + each.samples, 0);
  assertEquals(samples, nanoseconds.count);
  assert(nanoseconds.count >= EFFORT.batches);
});

Deno.test("where each operation was measured, samples are operations", async () => {
  const { benchmark } = scripted((operations) => ({
    nanoseconds: operations * 2000,
    each: Array.from({ length: operations }, (_, index) => index === 0 ? 9000 : 1500),
  }));
  const { nanoseconds, sample } = await measured(benchmark);
  assertEquals([nanoseconds.p50, nanoseconds.max, sample], [1500, 9000, "operation"]);
  assert(nanoseconds.count >= EFFORT.batches * 16);
});

const WRONG: readonly [string, Partial<Batch>, string][] = [
  ["of other operations", { operations: 7 }, "RangeError: it made 7 operations instead of 1"],
  ["that took no time", { nanoseconds: 0 }, "RangeError: a batch of 1 took 0 ns"],
  ["that took NaN", { nanoseconds: NaN }, "RangeError: a batch of 1 took NaN ns"],
  ["that ended before it began", { cycles: -5 }, "RangeError: a batch of 1 took -5 cycles"],
  ["of other single times", { each: [] }, "RangeError: a batch of 1 has 0 single times"],
];
for (const [what, batch, message] of WRONG) {
  Deno.test(`a batch ${what} is no figure`, async () => {
    const { benchmark, disposals } = scripted(() => batch);
    const { name, group, what } = benchmark;
    assertEquals(await measure(benchmark, OPTIONS), { name, group, what, failed: message });
    assertEquals(disposals(), 1);
  });
}

Deno.test("what a host lacks is a skip with its name, and nothing is started", async () => {
  const benchmark: Benchmark = {
    ...scripted(() => ({})).benchmark,
    lacks: () => "no such thing here",
    start: () => assert(false, "was started") as never,
  };
  const { name, group, what } = benchmark;
  assertEquals(await measure(benchmark, OPTIONS), {
    name,
    group,
    what,
    skipped: "no such thing here",
  });
});

Deno.test("a guest that never exits ends by its time limit", async () => {
  const benchmark: Benchmark = {
    name: "endless",
    group: "exits to user space",
    what: "a guest that never exits",
    start() {
      const vm = boot(asm`jmp $`, { timeout: 100 });
      return {
        batch(operations) {
          vm.run();
          return { operations, nanoseconds: 1 };
        },
        [Symbol.dispose]: () => vm[Symbol.dispose](),
      };
    },
  };
  const found = await measure(benchmark, OPTIONS);
  assert("failed" in found && found.failed?.startsWith("TimeLimitError: "), JSON.stringify(found));
});

Deno.test("a signal ends a measurement between its batches", async () => {
  const controller = new AbortController();
  const { benchmark, disposals } = scripted(() => {
    const end = performance.now() + 60;
    while (performance.now() < end);
    controller.abort(new Error("enough"));
    return {};
  });
  await assertRejects(
    () => measure(benchmark, { ...OPTIONS, signal: controller.signal }),
    Error,
    "enough",
  );
  assertEquals(disposals(), 1);
});

Deno.test("batches do not grow without end where operations are hardly any of them", async () => {
  const { benchmark } = scripted((operations) => {
    const end = performance.now() + operations * 0.1;
    while (performance.now() < end);
    return { nanoseconds: operations / 1000 };
  });
  const effort = { ...EFFORT, limit: 1500 };
  const began = performance.now();
  const { operations } = await measured(benchmark, { ...OPTIONS, effort });
  assert(operations >= 64 && operations <= 1024, `${operations}`);
  assert(performance.now() - began < 4000, `${performance.now() - began} ms`);
});

Deno.test("what lies between the batches is counted against the limit", async () => {
  const { benchmark } = scripted(() => {
    const end = performance.now() + 20;
    while (performance.now() < end);
    return { nanoseconds: 2e6 };
  });
  const effort = { ...EFFORT, limit: 200, batches: 1000 };
  const { nanoseconds } = await measured(benchmark, { ...OPTIONS, effort });
  assert(nanoseconds.count < 20, `${nanoseconds.count}`);
});

Deno.test("the grain is the median of the clock's steps", () => {
  let time = 0;
  let calls = 0;
  assertEquals(Math.round(clockGrain(() => ++calls % 3 === 0 ? time += 0.005 : time)), 5000);
});
