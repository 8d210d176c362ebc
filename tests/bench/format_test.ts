import { assertEquals } from "@std/assert";
import {
  caveats,
  change,
  digits,
  duration,
  notesOnMachines,
  sparkline,
  uncertainty,
} from "../../lib/bench/format.ts";
import { summarize } from "../../lib/bench/statistics.ts";
import { around, measured, resultsOf } from "./results.ts";

Deno.test("figures have three digits", () => {
  const cases: readonly [number, string][] = [
    [0, "0"],
    [0.5, "0.50"],
    [8.1, "8.10"],
    [14.25, "14.3"],
    [999, "999"],
    [1234.6, "1235"],
  ];
  for (const [value, expected] of cases) assertEquals(digits(value), expected);
});

Deno.test("durations are in the unit that suits them", () => {
  const cases: readonly [number, string][] = [
    [0.4, "0.40 ns"],
    [80, "80.0 ns"],
    [999.4, "999 ns"],
    [999.6, "1.00 µs"],
    [8100, "8.10 µs"],
    [28e6, "28.0 ms"],
    [999_999_999, "1.00 s"],
    [9e12, "9000 s"],
  ];
  for (const [value, expected] of cases) assertEquals(duration(value, "hardware"), expected);
  assertEquals(duration(12_345, "instructions"), "12,345 instr");
  assertEquals(duration(12_345.25, "instructions"), "12,345.3 instr");
});

Deno.test("a change is in percent", () => {
  assertEquals([change(1.052), change(0.9), change(1), change(0.9999)], [
    "+5.2%",
    "−10.0%",
    "+0.0%",
    "+0.0%",
  ]);
});

Deno.test("half of the interval is the uncertainty", () => {
  const nanoseconds = { ...summarize([100]), medianInterval: [99, 102] as const };
  assertEquals(uncertainty(measured("a", [100], { nanoseconds })), "±1.5%");
});

Deno.test("a bucket with one sample among many is seen, and an empty one is not", () => {
  assertEquals(sparkline([0, 1, 500, 1000].map((count) => ({ count }))), " ▁▄█");
});

Deno.test("what makes figures less than they seem is said", () => {
  assertEquals(caveats(measured("a", around(100))), []);
  const far = measured("a", [...around(100, 55), ...new Array(10).fill(1000)], {
    warmUp: { operations: 1, isSteady: false },
  });
  assertEquals(caveats(far), [
    "was not steady when it was counted",
    "10 of 65 batches are outliers, 10 of them severe",
  ]);
});

Deno.test("machines have a rate and a size, as far as they were measured", () => {
  const machine = measured("machine", [4e6]);
  const reset = measured("reset", [50_000]);
  const machineMemory = { machines: 50, process: 300_000, kernel: 1_000_000 };
  assertEquals(notesOnMachines(resultsOf([machine, reset], { machineMemory })), [
    "Machines per second: 250 made, run to HLT and disposed; 20,000 reset and run to HLT.",
    "A machine of one page takes 293 KiB of this process and 977 KiB of the kernel (mean of 50).",
  ]);
  assertEquals(notesOnMachines(resultsOf([reset], { clock: "instructions" })), [
    "Machines per 1,000,000,000 instructions: 20,000 reset and run to HLT.",
  ]);
  const failed = { name: "machine", group: "life cycle", what: "", failed: "no" } as const;
  assertEquals(notesOnMachines(resultsOf([failed, measured("boot", [1])])), []);
});
