import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { minimise, mutate } from "../../lib/fuzz/mutate.ts";
import { SplitMix32 } from "../../lib/x86/split_mix.ts";

Deno.test("a mutation is no longer than allowed, leaves its input as it was, and follows from the seed", () => {
  fc.assert(fc.property(
    fc.uint8Array({ maxLength: 20 }),
    fc.nat(),
    fc.array(fc.uint8Array({ minLength: 1, maxLength: 4 }), { maxLength: 3 }),
    (bytes, seed, dictionary) => {
      const input = new Uint8Array(bytes);
      const before = input.slice();
      const sources = { maxLength: 20, dictionary, other: () => new Uint8Array([1, 2, 3]) };
      const results = [0, 1].map(() => mutate(input, new SplitMix32(seed), sources));
      assertEquals(results[0], results[1]);
      assert(results[0].length <= 20);
      assertEquals(input, before);
    },
  ));
});

Deno.test("from an empty input any short text is reached", () => {
  const random = new SplitMix32(1);
  const sources = {
    maxLength: 2,
    dictionary: [new TextEncoder().encode("ab")],
    other: () => new Uint8Array([0x63]),
  };
  const seen = new Set<string>();
  for (let count = 0; count < 2000; count++) {
    seen.add(`${mutate(new Uint8Array(), random, sources)}`);
  }
  for (const each of [[], [0x61, 0x62], [0x63], [0]]) assert(seen.has(`${each}`), `${each}`);
});

Deno.test("what fails is made as small as it can be", () => {
  const fails = (input: Uint8Array) => input.includes(7) && input.indexOf(7) < input.lastIndexOf(9);
  const input = new Uint8Array([1, 2, 7, 3, 4, 5, 9, 9, 1]);
  assertEquals(minimise(input, fails, 1000), new Uint8Array([7, 9]));
  let asked = 0;
  minimise(input, () => (asked++, false), 5);
  assertEquals(asked, 5);
});
