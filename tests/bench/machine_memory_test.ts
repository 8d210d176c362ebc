import { assert, assertEquals } from "@std/assert";
import { memoryNote } from "../../lib/bench/format.ts";
import { machineMemory } from "../../lib/bench/machine_memory.ts";
import { markdown } from "../../lib/bench/markdown.ts";
import { resultsTable } from "../../lib/bench/table.ts";
import { resultsOf } from "./results.ts";

const MIB = 1024 ** 2;

Deno.test("a machine takes less than 8 MiB of this process", () => {
  const { machines, process, kernel } = machineMemory(20);
  assertEquals(machines, 20);
  assert(process >= 0 && process < 8 * MIB, `${process} bytes`);
  assert(kernel === undefined || (kernel >= 0 && kernel < 64 * MIB), `${kernel} bytes`);
});

Deno.test("what a machine takes is a line of the table and of the Markdown", () => {
  const note =
    "A machine of one page takes 1,234 KiB of this process and 56 KiB of the kernel (mean of 9).";
  const memory = { machines: 9, process: 1234 * 1024, kernel: 56 * 1024 };
  assertEquals(memoryNote(memory), note);
  assertEquals(
    memoryNote({ machines: 9, process: 1024 }),
    "A machine of one page takes 1 KiB of this process (mean of 9).",
  );
  const results = { ...resultsOf([]), machineMemory: memory };
  assert(resultsTable(results, { width: 80, colours: false }).includes(note));
  assert(markdown(results).includes(note));
  assert(!resultsTable(resultsOf([]), { width: 80, colours: false }).includes("A machine"));
});
