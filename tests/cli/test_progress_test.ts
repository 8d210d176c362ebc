import { assertEquals } from "@std/assert";
import { TestProgress } from "../../lib/cli/junit.ts";

function after(output: string, size = output.length): TestProgress {
  const progress = new TestProgress();
  const bytes = new TextEncoder().encode(output);
  for (let start = 0; start < bytes.length; start += size) {
    progress.hear(bytes.subarray(start, start + size));
  }
  return progress;
}

const OUTPUT = `running 5 tests from ./a_test.ts
one ... ok (5ms)
two: with "..." in it ... FAILED (1s)
three ... ignored (0ms)
four ...
  a step ... ok (1ms)
four ... ok (3ms)
\x1b[0m\x1b[38;5;245mfive\x1b[0m ... \x1b[0m\x1b[32mok\x1b[0m (1ms)
six ...`;

Deno.test("what deno test prints says how tests came out and which one runs", () => {
  for (const size of [1, 7, OUTPUT.length]) {
    const progress = after(OUTPUT, size);
    assertEquals(progress.running, "six");
    assertEquals(progress.counts, { passed: 3, failed: 1, skipped: 1 });
  }
});

Deno.test("between tests none runs", () => {
  assertEquals(after("one ... ok (5ms)\n").running, undefined);
  assertEquals(after("Check file:///a_test.ts\n").running, undefined);
});

Deno.test("a test with output runs until its outcome comes", () => {
  const text = "one ...\n------- output -------\nhello\n----- output end -----\n";
  assertEquals(after(text).running, "one");
  assertEquals(after(`${text}one ... ok (5ms)\n`).running, undefined);
});

Deno.test("a test whose line is begun anew is one test", () => {
  const progress = after("one ...one ... ok (5ms)\ntwo ...");
  assertEquals([progress.running, progress.counts.passed], ["two", 1]);
});
