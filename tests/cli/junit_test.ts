import { assertEquals } from "@std/assert";
import { countTests, summary } from "../../lib/cli/junit.ts";

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
