/**
 * How many random mutations of correct boot code end in a page that names what was changed:
 * `deno task mutations [count] [seed]`.
 *
 * @module
 */
import { ends } from "./end_of.ts";

const [count = "200", seed = "1"] = Deno.args;
const tally = { passes: 0, named: 0, missed: 0, unjudged: 0 };
for (const { guest, mutation, how, page } of ends(Number(count), Number(seed))) {
  tally[how]++;
  if (how !== "passes") console.log(`${how}  ${guest}.asm:${mutation.line}  ${mutation.what}`);
  if (how === "missed") console.log(page.replaceAll(/^/gm, "    "));
}
const failed = tally.named + tally.missed;
console.log(
  `${count} mutations: ${tally.passes} make no difference, ${tally.unjudged} ended the emulated machine; of ${failed} that fail, ${tally.named} are named (${
    (100 * tally.named / failed).toFixed(1)
  } %)`,
);
