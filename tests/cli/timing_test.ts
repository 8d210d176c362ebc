import { assertEquals } from "@std/assert";
import { timing } from "../../lib/cli/timing.ts";

const test = (name: string, time: string) => `<testcase name="${name}" time="${time}"></testcase>`;

const REPORT = `<testsuites name="deno test" tests="5" time="2.500">
<testsuite name="./a_test.ts">
${test("one", "0.500")}${test("one &gt; step", "0.400")}
<testcase name="left out" time="0.000"><skipped/></testcase>
</testsuite>
<testsuite name="./b_test.ts">${test("two", "0.300")}${test("three", "0.700")}</testsuite>
</testsuites>`;

Deno.test("tests per second are those that ran, by the time of the whole run; without tests nothing is said", () => {
  assertEquals(timing(REPORT, undefined), "1.2 tests per second\n");
  assertEquals(timing("", undefined), "");
  assertEquals(timing('<testsuites time="1.0"></testsuites>', undefined), "");
});

Deno.test("the slowest come first, steps are in their tests, and isolates are taken together", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const part = (milliseconds: number) =>
      JSON.stringify({
        "assembling": { milliseconds, count: 1 },
        "booting": { milliseconds: 2 * milliseconds, count: 2 },
        "running guests": { milliseconds: 0, count: 0 },
        "disposing machines": { milliseconds: 0, count: 0 },
      });
    await Deno.writeTextFile(`${folder}/one.json`, part(100));
    await Deno.writeTextFile(`${folder}/two.json`, part(50));
    await Deno.writeTextFile(`${folder}/junit.xml`, REPORT);
    assertEquals(timing(REPORT, folder).split("\n"), [
      "slowest files, by their tests",
      "    1.00 s  ./b_test.ts",
      "    0.50 s  ./a_test.ts",
      "slowest tests",
      "    0.70 s  three (./b_test.ts)",
      "    0.50 s  one (./a_test.ts)",
      "    0.30 s  two (./b_test.ts)",
      "where the time went",
      "    1.50 s  in tests",
      "    0.15 s    assembling, 2 times",
      "    0.30 s    booting, 4 times",
      "    0.00 s    running guests, 0 times",
      "    0.00 s    disposing machines, 0 times",
      "    2.50 s  in all",
      "1.2 tests per second",
      "",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
