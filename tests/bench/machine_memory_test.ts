import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { notesOnMachines } from "../../lib/bench/format.ts";
import { machineMemory } from "../../lib/bench/machine_memory.ts";
import { markdown } from "../../lib/bench/markdown.ts";
import { htmlReport } from "../../lib/bench/report/html_report.ts";
import { resultsTable } from "../../lib/bench/table.ts";
import { measured, resultsOf } from "./results.ts";

const MIB = 1024 ** 2;

Deno.test("a machine takes less than 8 MiB of this process", () => {
  const { machines, process, kernel } = machineMemory(20);
  assertEquals(machines, 20);
  assert(process >= 0 && process < 8 * MIB, `${process} bytes`);
  assert(kernel === undefined || (kernel >= 0 && kernel < 64 * MIB), `${kernel} bytes`);
});

Deno.test("what a machine takes, and how many there are in a second, is said below each table", async () => {
  const machineMemory = { machines: 9, process: 1234 * 1024, kernel: 56 * 1024 };
  const results = resultsOf([measured("reset", [1e6])], { machineMemory });
  const texts = [
    resultsTable(results, { width: 80, colours: false }),
    markdown(results),
    await htmlReport(results),
  ];
  for (const text of texts) {
    assertStringIncludes(text, "Machines per second: 1,000 reset and run to HLT.");
    assertStringIncludes(
      text,
      "A machine of one page takes 1,234 KiB of this process and 56 KiB of the kernel (mean of 9).",
    );
  }
  const ofProcess = resultsOf([], { machineMemory: { machines: 9, process: 1024 } });
  assertEquals(notesOnMachines(ofProcess), [
    "A machine of one page takes 1 KiB of this process (mean of 9).",
  ]);
  assert(!resultsTable(resultsOf([]), { width: 80, colours: false }).includes("A machine"));
});
