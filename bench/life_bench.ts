/**
 * How many machines a second are booted, run to their HLT, looked at and disposed, beside the same by the plain KVM API in C
 * (`life.c`), in one run and in turns.
 *
 *   deno run -A bench/life_bench.ts [--rounds=N] [--lives=N]
 *
 * @module
 */

import { parseArgs } from "node:util";
import { boot, Image } from "@vmexit/vmexit";
import { compare, type Contender, printComparison } from "./compare.ts";
import { kvmInUse, runBesideKvm } from "./kvm_in_use.ts";

const NANOSECONDS_PER_MILLISECOND = 1e6;

const guest = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });

const vmexit: Contender = {
  name: "boot, run, dispose",
  measure(operations) {
    const start = performance.now();
    for (let life = 0; life < operations; life++) {
      using vm = boot(guest, { mode: "real", memory: "4K" });
      vm.run();
      if (vm.registers.rip !== 0x501n) throw new Error("The guest did not halt");
    }
    return { operations, nanoseconds: (performance.now() - start) * NANOSECONDS_PER_MILLISECOND };
  },
};

const plainKvm: Contender = {
  name: "KVM from C",
  measure(operations) {
    const { lives, nanoseconds } = JSON.parse(runBesideKvm("life.c", `${operations}`));
    return { operations: lives, nanoseconds };
  },
};

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "9" },
    lives: { type: "string", default: "25" },
  },
});
const rounds = Number(values.rounds);
const operations = Number(values.lives);
console.log(`Machines per second, on ${kvmInUse()}`);
console.log(`${rounds} rounds of ${operations} machines each, in turns\n`);
printComparison(vmexit, plainKvm, compare(vmexit, plainKvm, { rounds, operations }));
