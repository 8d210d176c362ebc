import { assertEquals } from "@std/assert";
import { otherCpu } from "../../../lib/bench/suite/other_cpu.ts";
import { lacksSecondThread } from "../../../lib/bench/suite/second_cpu.ts";

const lacking = lacksSecondThread();

// With one processor the threads take turns: no figure is worth anything then, but the guests do what they are to do.
for (const { name, start } of otherCpu) {
  const isByTurns = name === "ipi_by_turns";
  Deno.test({
    name: `${name} does its work with two CPUs, and ends`,
    ignore: !isByTurns && lacking !== undefined,
    fn() {
      using run = start();
      assertEquals(run.batch(3).operations, 3);
    },
  });
}
