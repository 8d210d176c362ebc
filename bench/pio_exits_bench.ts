/**
 * Port output exits per second of `vm.run()`, beside those of the plain KVM API in C (`pio_exits.c`), in one run and in
 * turns. The guests are the same, and neither counts its set-up.
 *
 *   deno run -A bench/pio_exits_bench.ts [--rounds=N] [--exits=N]
 *
 * @module
 */

import { parseArgs } from "node:util";
import { asm, boot } from "@vmexit/vmexit";
import {
  compare,
  type Contender,
  type Measurement,
  perSecond,
  printComparison,
} from "./compare.ts";
import { kvmInUse, runBesideKvm } from "./kvm_in_use.ts";

const PORT = 0x1000;
const NANOSECONDS_PER_MILLISECOND = 1e6;

/** How long a round should take: long beside what starting the guest costs, short enough for many rounds. */
const ROUND_SECONDS = 0.25;

/** As many exits as show how long one takes here. */
const TRIAL_EXITS = 500;

/** A round that takes this long is stuck. */
const TIMEOUT_MILLISECONDS = 60_000;

const vmexit: Contender = {
  name: "vm.run()",
  measure(operations): Measurement {
    using vm = boot(
      asm`
        bits 16
        mov dx, ${PORT}
        mov ecx, ${operations}
      next:
        out dx, al
        dec ecx
        jnz next
        hlt
      `,
      { mode: "real", memory: "4K", timeout: TIMEOUT_MILLISECONDS },
    );
    let exits = 0;
    vm.ports.on(PORT, {
      write(): void {
        exits++;
      },
    });
    const start = performance.now();
    vm.run();
    const nanoseconds = (performance.now() - start) * NANOSECONDS_PER_MILLISECOND;
    if (exits !== operations) {
      throw new Error(`The guest made ${exits} exits instead of ${operations}`);
    }
    return { operations, nanoseconds };
  },
};

const plainKvm: Contender = {
  name: "KVM from C",
  measure(operations): Measurement {
    const { exits, nanoseconds } = JSON.parse(runBesideKvm("pio_exits.c", `${operations}`));
    return { operations: exits, nanoseconds };
  },
};

const { values } = parseArgs({
  args: Deno.args,
  options: { rounds: { type: "string", default: "9" }, exits: { type: "string" } },
});
const rounds = Number(values.rounds);
const trial = perSecond(plainKvm.measure(TRIAL_EXITS));
const operations = Number(values.exits ?? Math.round(trial * ROUND_SECONDS));

console.log(`Port output exits per second, on ${kvmInUse()}`);
console.log(`${rounds} rounds of ${operations.toLocaleString("en")} exits each, in turns\n`);
printComparison(vmexit, plainKvm, compare(vmexit, plainKvm, { rounds, operations }));
