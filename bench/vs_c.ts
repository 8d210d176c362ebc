/**
 * Compares what costs most with C, on the KVM in use here, and prints a line of JSON for each:
 * `{ "name", "what", "goal", "c", "vmexit", "ratio" }`. `vmexit bench --vs-c` runs it, here and on the instruction clock.
 *
 *   deno run -A bench/vs_c.ts [--filter=TEXT] [--again=NAME] [--rounds=N] [--batches=N]
 *
 * @module
 */

import { parseArgs } from "node:util";
import { compare } from "./comparison.ts";
import { COMPARISONS } from "./comparisons.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    filter: { type: "string", default: "" },
    again: { type: "string" },
    only: { type: "string" },
    rounds: { type: "string", default: "3" },
    batches: { type: "string", default: "7" },
  },
});
const { filter, again, only, rounds, batches } = values;

/** What V8 makes of code that two share hangs on both: each is measured in a process of its own. */
function inOwnProcess(name: string): string {
  const args = [`--only=${name}`, `--rounds=${rounds}`, `--batches=${batches}`];
  const { success, stdout, stderr } = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--no-check", import.meta.url, ...args],
  }).outputSync();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
  return new TextDecoder().decode(stdout).trim();
}

for (const comparison of COMPARISONS) {
  const { name, what, goal } = comparison;
  if (only === name) {
    // Only here: on the instruction clock, loading vmexit is half of what a comparison takes.
    const { RUNS } = await import("./runs.ts");
    const { runBesideKvm } = await import("./run_beside_kvm.ts");
    const options = { rounds: Number(rounds), batches: Number(batches), run: runBesideKvm };
    console.log(JSON.stringify({ name, what, goal, ...compare(comparison, RUNS[name], options) }));
  } else if (only === undefined && name.includes(filter)) console.log(inOwnProcess(name));
}
if (again !== undefined) console.log(inOwnProcess(again));
