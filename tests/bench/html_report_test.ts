import { assert, assertEquals } from "@std/assert";
import { compareResults } from "../../lib/bench/baseline.ts";
import { htmlReport } from "../../lib/bench/report/html_report.ts";
import { drawnGroups } from "../../lib/bench/report/report_data.ts";
import { around, measured, resultsOf } from "./results.ts";

const now = resultsOf([
  measured("slower", around(120)),
  measured("</script>", around(500), { warmUp: { operations: 1, isSteady: false } }),
  measured("other", around(1e6), { group: "memory" }),
  { name: "skips", group: "memory", what: `"quoted"`, skipped: "no <such> thing" },
  { name: "fails", group: "exits in the kernel", what: "", failed: "it broke" },
]);
const before = resultsOf([measured("slower", around(100))]);

Deno.test("a report is one file: its script is whole, and nothing in it is fetched", async () => {
  const page = await htmlReport(now, before, compareResults(before, now, "old.json"));
  assert(!/\b(src|href)=|@import|url\(|fetch\(|XMLHttpRequest|import\(/.test(page));
  const scripts = [...page.matchAll(/<script([^>]*)>([^]*?)<\/script>/g)];
  assertEquals(scripts.map(([, attributes]) => attributes), [
    ` id="data" type="application/json"`,
    "",
    "",
  ]);
  const { groups, unit } = JSON.parse(scripts[0][2]);
  assertEquals(unit, "time");
  assertEquals(groups, JSON.parse(JSON.stringify(drawnGroups(now, before))));
  for (const [, , script] of scripts.slice(1)) new Function(script);
});

Deno.test("a report says what changed, what is missing, and on which host, and text stays text", async () => {
  const page = await htmlReport(now, before, compareResults(before, now, "old.json"));
  for (
    const text of [
      `<td class="slower">+20.0%</td>`,
      `<td class="new">new</td>`,
      `skipped: no &lt;such&gt; thing</td>`,
      `title="&quot;quoted&quot;"`,
      `<td class="text failed" colspan="7">failed: it broke</td>`,
      `<code>&lt;/script&gt;</code>`,
      `<tr class="caveat"><td class="faint" colspan="8">was not steady when it was counted</td></tr>`,
      `<td>processor</td><td class="text">A &lt;fast&gt; one</td>`,
      "3 of 5 benchmarks · 2026-11-28 12:00 UTC · A &lt;fast&gt; one",
    ]
  ) assert(page.includes(text), text);
  assert(!page.includes("<such>") && !page.includes("Beside C"));
  const comparisons = [{ name: "pio", wall: { c: 1000, vmexit: 1100, ratio: 1.1 } }];
  assert(
    (await htmlReport({ ...now, comparisons })).includes(
      "<td>pio</td><td></td><td></td><td></td><td>1.00 µs</td>",
    ),
  );
});

Deno.test("all of a group is drawn on one scale, and no sample is lost", () => {
  const [first, second] = drawnGroups(now, before);
  assertEquals([first.name, second.name], ["exits to user space", "memory"]);
  assert(first.edges[0] <= 99.5 && first.edges.at(-1)! >= 502.5);
  for (const { name, shares, before } of first.benchmarks) {
    for (const each of [shares, before ?? shares]) {
      assertEquals(each.length, first.edges.length - 1);
      const sum = each.reduce((a, b) => a + b);
      assert(Math.abs(sum - 100) < 0.2, `${name}: ${sum}`);
    }
    assertEquals(before !== undefined, name === "slower");
  }
});

Deno.test("a curve ascends by percentile, from the least, as far as there are samples to tell", () => {
  const samples = Array.from({ length: 1000 }, (_, index) => 1000 + index);
  const [{ percentiles, percentileTicks, benchmarks }] = drawnGroups(
    resultsOf([measured("a", samples), measured("few", around(1000, 10))]),
    undefined,
  );
  const at = (name: number, percent: number) =>
    benchmarks[name].curve[
      percentiles.findIndex((each) => each >= -Math.log10(1 - percent / 100) - 1e-9)
    ]!;
  for (const [percent, value] of [[0, 1000], [50, 1500], [90, 1900], [99, 1990]]) {
    assert(Math.abs(at(0, percent) / value - 1) < 0.02, `p${percent} is ${at(0, percent)}`);
  }
  assertEquals(at(1, 99), null);
  assertEquals(percentileTicks.map(([, text]) => text), ["0%", "50%", "90%", "99%", "99.9%"]);
  const { curve } = benchmarks[0];
  assertEquals(curve, curve.toSorted((a, b) => a! - b!));
});

Deno.test("results without figures are a page without drawings", async () => {
  const page = await htmlReport(resultsOf(now.benchmarks.slice(3)));
  assert(page.includes("0 of 2 benchmarks") && !page.includes("<div data-strip"));
});
