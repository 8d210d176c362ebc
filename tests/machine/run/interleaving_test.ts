import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { RoundRobin, SeededInterleaving } from "../../../lib/machine/run/interleaving.ts";

Deno.test("time slices go round, and pass over CPUs that cannot run", () => {
  const slices = new RoundRobin();
  const cpus = [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2], [2], [0, 2], [0]]
    .map((runnable) => slices.next(runnable).cpu);
  assertEquals(cpus, [0, 1, 2, 0, 2, 0, 0]);
  assertEquals(slices.next([1]), { cpu: 1, instructions: undefined });
});

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

Deno.test("the turns of a seed are always the same", () => {
  fc.assert(fc.property(seeds, fc.integer({ min: 1, max: 5 }), (seed, count) => {
    const runnable = Array.from({ length: count }, (_, cpu) => cpu);
    const turns = (interleaving: SeededInterleaving) =>
      Array.from({ length: 20 }, () => interleaving.next(runnable));
    assertEquals(turns(new SeededInterleaving({ seed })), turns(new SeededInterleaving({ seed })));
  }));
});

Deno.test("a turn is one of a CPU that can run, for one to the most instructions", () => {
  fc.assert(fc.property(seeds, fc.integer({ min: 1, max: 40 }), (seed, most) => {
    const interleaving = new SeededInterleaving({ seed, instructions: most });
    for (let turn = 0; turn < 20; turn++) {
      const { cpu, instructions } = interleaving.next([1, 3]);
      assert(cpu === 1 || cpu === 3);
      assert(Number.isInteger(instructions) && instructions! >= 1 && instructions! <= most);
    }
  }));
});

Deno.test("over many turns every CPU runs, and every length comes", () => {
  const interleaving = new SeededInterleaving({ seed: 1, instructions: 4 });
  const turns = Array.from({ length: 400 }, () => interleaving.next([0, 1, 2]));
  assertEquals([...new Set(turns.map(({ cpu }) => cpu))].toSorted(), [0, 1, 2]);
  assertEquals([...new Set(turns.map(({ instructions }) => instructions))].toSorted(), [
    1,
    2,
    3,
    4,
  ]);
});

Deno.test("a seed or a length that is none is refused", () => {
  for (const seed of [-1, 1.5, 2 ** 32, NaN]) {
    assertThrows(() => new SeededInterleaving({ seed }), RangeError, `by seed ${seed}: it is not`);
  }
  assertThrows(
    () => new SeededInterleaving({ seed: 1, instructions: 0 }),
    RangeError,
    "by turns of up to 0 instructions",
  );
});
