import { WrittenMemory } from "../../../lib/kvm/remote/written_memory.ts";
import { processCalls } from "../../../lib/ffi/process_calls.ts";
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";

const BASE = 0x10_0000;

function taken(written: WrittenMemory): [number, number][] {
  const pieces: [number, number][] = [];
  written.take((start, length) => pieces.push([start, length]));
  return pieces;
}

Deno.test("what was noted is handed out once, in whole words, and what goes on where the last ended is one piece", () => {
  const written = new WrittenMemory(processCalls());
  written.note(0x1003, 1);
  written.note(0x1004, 9);
  written.note(0x2000, 0);
  written.note(0x3000, 8);
  assertEquals(taken(written), [[0x1000, 16], [0x3000, 8]]);
  assertEquals(taken(written), []);
});

Deno.test("whatever is written through a view is handed out, wherever it is", () => {
  const size = 0x4_8000;
  const place = fc.nat(size - 1);
  fc.assert(
    fc.property(place, place, fc.array(place, { maxLength: 5 }), (one, other, places) => {
      const memory = new Uint8Array(new ArrayBuffer(size));
      const written = new WrittenMemory(processCalls());
      const [from, to] = [Math.min(one, other), Math.max(one, other)];
      const view = written.view(memory, BASE, from, to - from);
      for (const at of places) if (at >= from && at < to) view[at - from] = 1;
      const pieces = taken(written);
      const inside = places.filter((at) => at >= from && at < to);
      for (const at of inside) {
        const isThere = pieces.some(([start, length]) =>
          BASE + at >= start && BASE + at < start + length
        );
        assertEquals(isThere, true);
      }
      // And little else: what is handed out is compared in pieces of 64 bytes.
      const all = pieces.reduce((sum, [, length]) => sum + length, 0);
      assert(all <= 64 * inside.length);
    }),
    { numRuns: 50 },
  );
});

Deno.test("what the guest wrote meanwhile is not this process's, once it has stopped", () => {
  const memory = new Uint8Array(new ArrayBuffer(64));
  const written = new WrittenMemory(processCalls());
  const view = written.view(memory, BASE, 0, 64);
  memory[3] = 7;
  written.guestStopped();
  assertEquals(taken(written), []);
  view[3] = 0;
  assertEquals(taken(written), [[BASE, 64]]);
});

Deno.test("the same view is one view, and one of memory that is no more is forgotten", () => {
  const memory = new Uint8Array(new ArrayBuffer(128));
  const written = new WrittenMemory(processCalls());
  const view = written.view(memory, BASE, 8, 16);
  assertStrictEquals(written.view(memory, BASE, 8, 16), view);
  view[0] = 1;
  written.forget(BASE, 128);
  assertEquals(taken(written), []);
});
