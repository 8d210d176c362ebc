import type { Comparison } from "./comparison.ts";

const EXITS = { baseline: "pio_exits.c", operations: 200, warmUp: 12_000 };

/** All that is compared with C, and what it may cost; `runs.ts` has vmexit's part of each. */
export const COMPARISONS: readonly Comparison[] = [
  {
    ...EXITS,
    name: "pio_exit_bare_loop",
    what: "KVM_RUN by Deno's FFI in a loop, and nothing else: the floor of the next four",
  },
  {
    ...EXITS,
    name: "pio_exit",
    what: "OUT of a byte to a handler, by vm.run()",
    goal: 1.05,
  },
  {
    ...EXITS,
    name: "pio_exit_recorded",
    what: "the same, with all exits of a batch in vm.log",
    goal: 1.1,
  },
  {
    ...EXITS,
    name: "pio_exit_iterated",
    what: "the same exit, by vm.exits()",
    goal: 1.2,
  },
  {
    ...EXITS,
    name: "pio_exit_transcript",
    what: "the same exit, foreseen by a transcript",
    goal: 1.2,
  },
  {
    ...EXITS,
    name: "pio_exit_first",
    what: "the first 1,000 OUTs of a process to a handler, by vm.run(): nothing is compiled",
    operations: 1_000,
    warmUp: 0,
    isOnce: true,
  },
  {
    name: "life",
    what: "a machine made, run to its HLT, its registers read, disposed",
    baseline: "life.c",
    operations: 3,
    warmUp: 150,
    goal: 1.15,
  },
  {
    name: "boot",
    what: "the same, without its end",
    baseline: "boot.c",
    operations: 3,
    warmUp: 150,
    goal: 1.15,
  },
  {
    name: "reset",
    what: "a machine of which 16 pages were written, restored and run to its HLT",
    baseline: "reset.c",
    operations: 10,
    warmUp: 1_500,
    goal: 1.2,
  },
];
