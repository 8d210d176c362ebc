import { assertEquals, assertLessOrEqual } from "@std/assert";
import { Progress } from "../../lib/cli/command_context.ts";
import { compareWithC } from "../../lib/cli/bench_vs_c.ts";
import { findProgram, missingPackages, qemuIcount } from "../../lib/nested/mod.ts";
import { COMPARISONS } from "../../bench/comparisons.ts";
import { RUNS } from "../../bench/runs.ts";

/**
 * What each may cost at most on the instruction clock, as a multiple of what C takes: what is reached, and a little for
 * another Deno and another kernel. The goals are in `bench/comparisons.ts`.
 */
const LIMITS: Readonly<Record<string, number>> = {
  pio_exit_bare_loop: 1.06,
  pio_exit: 1.2,
  pio_exit_recorded: 1.2,
  pio_exit_iterated: 2,
  pio_exit_transcript: 1.3,
  pio_exit_first: 18,
  life: 1.4,
  boot: 3.3,
  reset: 1.25,
};

/** How many times cheaper a reset is to be than a new machine. */
const RESET_GAIN = 10;

/** Figures of two runs differ by so much at most: V8 compiles a function sooner or later. Those of C do not differ. */
const REPEATS = 0.02;

const missing = [
  ...await missingPackages(qemuIcount()),
  ...(await findProgram("cc") === undefined ? ["gcc"] : []),
];
const ignore = missing.length > 0;

function test(text: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test({ name: ignore ? `${text} (skipped: no ${missing.join(", ")})` : text, ignore, fn });
}

Deno.test("each comparison has vmexit's part", () => {
  assertEquals(Object.keys(RUNS), COMPARISONS.map(({ name }) => name));
});

async function instructions(...args: readonly string[]) {
  using progress = new Progress();
  const { signal } = new AbortController();
  return await compareWithC("instructions", args, { progress, signal });
}

test("nothing costs more instructions, beside C, than its limit", async (t) => {
  const all = await instructions("--again=pio_exit_recorded");
  const again = all.at(-1)!;
  const found = all.slice(0, -1);
  assertEquals(found.map(({ name }) => name), COMPARISONS.map(({ name }) => name));
  assertEquals(Object.keys(LIMITS), found.map(({ name }) => name));
  for (const { name, c, vmexit, ratio } of found) {
    const [ours, theirs] = [vmexit, c].map((count) => Math.round(count).toLocaleString("en"));
    const figures = `${ours} instructions, C ${theirs}: ${ratio.toFixed(3)} times as many`;
    await t.step(`${name}: ${figures}`, () => assertLessOrEqual(ratio, LIMITS[name], figures));
  }
  const [life, reset] = ["life", "reset"].map((name) => found.find((each) => each.name === name)!);
  const times = `${(life.vmexit / reset.vmexit).toFixed(1)} times cheaper`;
  await t.step(
    `a reset is ${times} than a new machine`,
    () => assertLessOrEqual(RESET_GAIN, life.vmexit / reset.vmexit),
  );
  const first = found.find(({ name }) => name === "pio_exit_recorded")!;
  await t.step("instructions are the same in another run: C's to the digit", () => {
    assertEquals(again.name, first.name);
    assertEquals(again.c, first.c);
    assertLessOrEqual(Math.abs(again.vmexit / first.vmexit - 1), REPEATS);
  });
});
