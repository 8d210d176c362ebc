import { assertEquals, assertStringIncludes } from "@std/assert";
import { countTests, summary, TestProgress } from "../../lib/cli/junit.ts";

const suite = (name: string, cases: string) =>
  `    <testsuite name="${name}" tests="1">\n${cases}\n    </testsuite>`;
const passed = (name: string) => `<testcase name="${name}" time="0.1">\n</testcase>`;
const failed = (name: string) =>
  `<testcase name="${name}"><failure message="no">x</failure></testcase>`;
const skipped = (name: string) => `<testcase name="${name}" time="0.000">\n<skipped/>\n</testcase>`;
/** As Deno writes a test that `--filter` leaves out. */
const FILTERED = `<testcase name="other" line="2">\n<skipped/>\n</testcase>`;
const report = (suites: string, figures = 'tests="2" failures="1" errors="0" time="0.250"') =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="deno test" ${figures}>\n${suites}\n</testsuites>\n`;

Deno.test("tests are counted, and steps are not", () => {
  const xml = report([
    suite(
      "a",
      [passed("one"), failed("two"), passed("one &gt; step"), failed("two &gt; s &gt; t")].join(
        "\n",
      ),
    ),
    suite("b", [skipped("three"), passed("x &gt; y"), FILTERED].join("\n")),
  ].join("\n"));
  assertEquals(countTests(xml), { passed: 2, failed: 1, skipped: 1 });
});

Deno.test("the last line is what passed and failed, and skipped tests stand above it where there are some", () => {
  assertEquals(summary({ passed: 3, failed: 1, skipped: 0 }), "3 passed, 1 failed");
  assertEquals(summary({ passed: 3, failed: 0, skipped: 2 }), "2 skipped\n3 passed, 0 failed");
});
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
    const report = progress.report("it <died>");
    assertEquals(countTests(report), { passed: 3, failed: 2, skipped: 1 });
    assertStringIncludes(
      report,
      `<testcase name="six" classname="./a_test.ts" time="0.000"><failure message="it &lt;died&gt;">`,
    );
    assertStringIncludes(report, `name="two: with &quot;...&quot; in it"`);
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
  assertEquals(progress.running, "two");
  assertEquals(countTests(progress.report("")), { passed: 1, failed: 1, skipped: 0 });
});

Deno.test("a run that ends between two tests has failed, too", () => {
  const report = after("running 1 test from ./a_test.ts\none ... ok (5ms)\n").report("gone");
  assertEquals(countTests(report), { passed: 1, failed: 1, skipped: 0 });
  assertEquals(countTests(after("").report("gone")), { passed: 0, failed: 1, skipped: 0 });
});
