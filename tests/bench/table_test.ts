import { assert, assertEquals } from "@std/assert";
import { compareResults } from "../../lib/bench/baseline.ts";
import { markdown } from "../../lib/bench/markdown.ts";
import { changeTable, resultsTable } from "../../lib/bench/table.ts";
import { around, measured, resultsOf } from "./results.ts";

const spread = Array.from({ length: 100 }, (_, index) => 1000 + 10 * index);
const results = resultsOf([
  measured("pio_out", spread, { cycles: measured("", around(3000)).nanoseconds }),
  measured("pio_in", around(2e6), { warmUp: { operations: 9, isSteady: false } }),
  { name: "x2apic", group: "exits in the kernel", what: "", skipped: "no x2APIC here" },
  { name: "broken", group: "exits in the kernel", what: "", failed: "TimeLimitError: too | long" },
]);
const comparisons = [
  {
    name: "pio",
    instructions: { c: 10_000, vmexit: 10_450, ratio: 1.045 },
    wall: { c: 8000, vmexit: 8800, ratio: 1.1 },
  },
  { name: "life", instructions: { c: 5, vmexit: 6, ratio: 1.2 } },
];

Deno.test("a table has a line for each benchmark under its group", () => {
  assertEquals(
    resultsTable({ ...results, comparisons }, { width: 82, colours: false }),
    `exits to user space
          median    95%      p90      p99      max  cycles
pio_out  1.50 µs  ±7.0%  1.89 µs  1.98 µs  1.99 µs    3000  ▄▃▃▄▃▄▄▄▄▄▄▅▄▅▅▅▅▅▆▆▅█
pio_in   2.00 ms  ±0.2%  2.01 ms  2.01 ms  2.01 ms          █ █ █  █ █ █  █ █ ██ █
  pio_in was not steady when it was counted

exits in the kernel
          median    95%      p90      p99      max  cycles
x2apic   skipped: no x2APIC here
broken   failed: TimeLimitError: too | long

beside C             C        vmexit  ratio        C   vmexit  ratio
pio       10,000 instr  10,450 instr  1.045  8.00 µs  8.80 µs  1.100
life           5 instr       6 instr  1.200`,
  );
});

Deno.test("what there is no room for is left out, the least important first", () => {
  const heads = (width: number) =>
    resultsTable(results, { width, colours: false }).split("\n")[1].trim();
  assertEquals(heads(82), "median    95%      p90      p99      max  cycles");
  assertEquals(heads(64), "median    95%      p90      p99      max");
  assertEquals(heads(55), "median    95%      p99      max");
  assertEquals(heads(20), "median    95%");
  for (const width of [82, 64, 55, 47]) {
    for (const line of resultsTable(results, { width, colours: false }).split("\n")) {
      assert(/skipped|failed|steady/.test(line) || line.length <= width, `${width}: ${line}`);
    }
  }
});

Deno.test("exits of an operation have a column where they were counted", () => {
  const counted = resultsOf([
    measured("cpuid", spread, { exits: 1.004 }),
    measured("pio_in", spread),
  ]);
  const [head, cpuid, pioIn] = resultsTable(counted, { width: 100, colours: false }).split("\n")
    .slice(1);
  const end = head.indexOf("exits") + "exits".length;
  assertEquals([cpuid.slice(end - 5, end), pioIn.slice(end - 5, end)], [" 1.00", "     "]);
});

Deno.test("colours are there where they are wanted, and change no text", () => {
  const plain = resultsTable(results, { width: 100, colours: false });
  const coloured = resultsTable(results, { width: 100, colours: true });
  assert(!plain.includes("\x1b") && coloured.includes("\x1b[31mfailed: "));
  // deno-lint-ignore no-control-regex
  assertEquals(coloured.replaceAll(/\x1b\[\d+m/g, ""), plain);
});

Deno.test("results of an emulated machine, and of the instruction clock, say what they mean", () => {
  const text = (clock: "emulated" | "instructions") =>
    resultsTable({ ...results, clock }, { width: 100, colours: false });
  assert(text("emulated").endsWith("The machine is emulated: times mean nothing, ratios do."));
  assert(text("instructions").includes("1,495 instr"));
  assert(text("instructions").endsWith("a figure is instructions, and repeats to the digit."));
});

Deno.test("results of nothing are an empty table", () => {
  assertEquals(resultsTable(resultsOf([]), { width: 80, colours: false }), "");
});

const before = resultsOf([measured("pio_out", around(1000)), measured("pio_in", around(2e6))]);
const changes = compareResults(before, results, "old.json");

Deno.test("changes are a table, too", () => {
  assertEquals(
    changeTable(changes, results, { width: 80, colours: false }),
    `against the baseline   before      now  change
pio_out               1.00 µs  1.50 µs  +49.5%  slower
pio_in                2.00 ms  2.00 ms   +0.0%    same`,
  );
});

Deno.test("Markdown has what changed, all figures, and the host, and no cell ends early", () => {
  const text = markdown({ ...results, comparisons }, changes);
  assert(text.startsWith("### vmexit bench\n\n1 of 2 benchmarks as before\n\n| benchmark |"), text);
  for (
    const line of [
      "| `pio_out` | 1.00 µs | 1.50 µs | +49.5% | **slower** |",
      "| pio | 10,000 instr | 10,450 instr | 1.045 | 8.00 µs | 8.80 µs | 1.100 |",
      "| `pio_in` | 2.00 ms | ±0.2% | 2.01 ms | 2.01 ms | 2.01 ms |  | was not steady when it was counted |",
      "| `x2apic` |  |  |  |  |  |  | skipped: no x2APIC here |",
      "| `broken` |  |  |  |  |  |  | **failed**: TimeLimitError: too \\| long |",
      "| processor | A &lt;fast> one |",
      "| deno | 2.9.6 |",
    ]
  ) assert(text.includes(`${line}\n`), `${line} is not in\n${text}`);
  assertEquals(text.match(/<details>/g)?.length, text.match(/<\/details>/g)?.length);
});
