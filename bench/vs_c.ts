/**
 * Compares what costs most with C, on the KVM in use here, and prints a line of JSON for each:
 * `{ "name", "what", "goal", "c", "vmexit", "ratio" }`. `vmexit bench --vs-c` runs it, here and on the instruction clock.
 *
 *   deno run -A bench/vs_c.ts [--filter=TEXT] [--rounds=N] [--batches=N]
 *
 * @module
 */

import { parseArgs } from "node:util";
import { compare } from "./comparison.ts";
import { COMPARISONS } from "./comparisons.ts";
import { runBesideKvm } from "./run_beside_kvm.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    filter: { type: "string", default: "" },
    rounds: { type: "string", default: "3" },
    batches: { type: "string", default: "7" },
  },
});
const rounds = Number(values.rounds);
const batches = Number(values.batches);
for (const comparison of COMPARISONS) {
  const { name, what, goal } = comparison;
  if (!name.includes(values.filter)) continue;
  const figures = compare(comparison, { rounds, batches, run: runBesideKvm });
  console.log(JSON.stringify({ name, what, goal, ...figures }));
}
