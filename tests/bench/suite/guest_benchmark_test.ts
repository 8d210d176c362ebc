import { asm } from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type GuestBenchmark, guestBenchmark } from "../../../lib/bench/suite/guest_benchmark.ts";
import { MeasuredMachine, MOST_IN_A_RUN } from "../../../lib/bench/suite/measured_guest.ts";
import { timedBenchmark } from "../../../lib/bench/suite/timed.ts";

const PORT = 0x1000;

/** A benchmark of an instruction that makes no exit. */
function idle(rest: Partial<GuestBenchmark>): GuestBenchmark {
  return { name: "idle", what: "nothing", guest: () => ({ operation: asm`nop` }), ...rest };
}

const UNDONE: [what: string, rest: Partial<GuestBenchmark>, message: string][] = [
  ["hypercalls that were none", { hypercalls: 1 }, "idle had 0 hypercalls for 2 operations, not 2"],
  ["a CPU that did not halt", { halts: 1 }, "idle had 0 halts for 2 operations, not 2"],
  ["interrupts without a handler", { interrupts: 1 }, "idle had 0 interrupts for 2 operations"],
  ["exits that stayed in the kernel", { userExits: 1 }, "idle had 0 exits to user space for 2"],
  [
    "exits that were to stay in the kernel",
    {
      guest: () => ({ load: asm`mov edx, ${PORT}`, operation: asm`out dx, al` }),
      attach: (vm) => void vm.ports.on(PORT, { write() {} }),
    },
    "idle had 2 exits to user space for 2 operations, not 0",
  ],
  [
    "more of them than a ring has",
    {
      mostUserExits: () => 1,
      guest: () => ({ load: asm`mov edx, ${PORT}`, operation: asm`out dx, al` }),
      attach: (vm) => void vm.ports.on(PORT, { write() {} }),
    },
    "idle had 2 exits to user space for 2 operations, not at most 1",
  ],
  ["another register", { witness: () => 1n }, "idle had 0 in R12 for 2 operations, not 1"],
  [
    "an instruction that the CPU refuses",
    { guest: () => ({ operation: asm`ud2` }) },
    "SHUTDOWN",
  ],
  [
    "a guest that ends early",
    { guest: () => ({ operation: asm`hlt` }) },
    "The guest ended with HLT before it had done its work",
  ],
  [
    "what the host finds afterwards",
    {
      attach: () => ({
        after(operations) {
          throw new Error(`not done ${operations} times`);
        },
      }),
    },
    "not done 2 times",
  ],
];
Deno.test.each(UNDONE)("a benchmark does not start with %s", (_what, rest, message) => {
  assertThrows(() => guestBenchmark(idle(rest)).start(), Error, message);
});

Deno.test("a batch fails by exits that KVM has not counted", () => {
  // The first runs have other exits: pages that nobody has touched before.
  using run = guestBenchmark(idle({ exits: 1 })).start();
  assertThrows(() => run.batch(100), Error, "exits for 100 operations, not 100");
});

Deno.test("a statistic that KVM does not keep is an error", () => {
  using machine = new MeasuredMachine({ operation: asm`nop` });
  assertThrows(() => machine.run(1).counted("exit"), RangeError, 'Cannot count "exit"');
});

Deno.test("a batch of more operations than a run has room for is several runs", () => {
  const operations = 2 * MOST_IN_A_RUN + 3;
  const parts: number[] = [];
  using run = guestBenchmark(idle({
    guest: () => ({ operation: asm`inc r12` }),
    witness: BigInt,
    attach: () => ({ after: (part) => void parts.push(part) }),
  })).start();
  parts.length = 0;
  const batch = run.batch(operations);
  assertEquals(parts, [MOST_IN_A_RUN, MOST_IN_A_RUN, 3]);
  assertEquals([batch.operations, batch.each], [operations, undefined]);
});

Deno.test("what an operation takes is told without what reading the TSC takes", () => {
  const turns = 2000;
  using none = new MeasuredMachine({ operation: asm`nop` });
  using long = new MeasuredMachine({
    operation: asm`
      mov ecx, ${turns}
    .again:
      dec ecx
      jnz .again
    `,
  });
  const median = (machine: MeasuredMachine) => machine.run(200).each.sort()[100];
  const [nop, loop] = [median(none), median(long)];
  // A loop's turn is a cycle at least; a NOP is less than a reading by far.
  assert(loop > turns / 2, `${loop} cycles for ${turns} turns`);
  assert(nop < loop / 4, `${nop} cycles for a NOP, and ${loop} for ${turns} turns`);
});

Deno.test("cycles that a guest measures itself are those that it leaves", () => {
  using machine = new MeasuredMachine({
    operation: asm`
      add r12, 5
      mov [elapsed], r12
    `,
    measuresItself: true,
  });
  const { each, cycles } = machine.run(4);
  assertEquals([[...each], cycles], [[5, 10, 15, 20], 50]);
});

Deno.test("each operation is timed by itself, without what comes before and behind it", () => {
  const order: string[] = [];
  const benchmark = timedBenchmark({
    name: "script",
    group: "memory",
    what: "a script",
    start(cleanup) {
      cleanup.defer(() => order.push("end"));
      return {
        before: () => busy(20),
        operation: () => void order.push("operation"),
        after: () => busy(20),
      };
    },
  });
  {
    using run = benchmark.start();
    order.length = 0;
    const { each, nanoseconds } = run.batch(3);
    assertEquals(each?.length, 3);
    assertEquals(nanoseconds, each![0] + each![1] + each![2]);
    // 3 times 40 ms are outside.
    assert(nanoseconds < 60e6, `${nanoseconds} ns`);
  }
  assertEquals(order, ["operation", "operation", "operation", "end"]);
});

Deno.test("what a benchmark has opened is closed where its first operation fails", () => {
  let closed = 0;
  const benchmark = timedBenchmark({
    name: "broken",
    group: "memory",
    what: "a script that throws",
    start(cleanup) {
      cleanup.defer(() => closed++);
      return {
        operation() {
          throw new Error("broken");
        },
      };
    },
  });
  assertThrows(() => benchmark.start(), Error, "broken");
  assertEquals(closed, 1);
});

function busy(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end;);
}
