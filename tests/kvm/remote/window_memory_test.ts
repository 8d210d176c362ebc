import { PageAllocator } from "../../../lib/kvm/remote/window_memory.ts";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";

const PAGE = 4096;
const LARGE = 2 * 1024 * 1024;

Deno.test("what is taken lies where it was asked for, overlaps nothing, and all of it can be given back", () => {
  const size = fc.integer({ min: 1, max: 40 }).map((pages) => pages * PAGE);
  const alignment = fc.constantFrom(PAGE, LARGE);
  const offset = fc.integer({ min: 0, max: 511 }).map((pages) => pages * PAGE);
  const step = fc.record({ size, alignment, offset, gives: fc.boolean(), which: fc.nat() });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const end = 16 * LARGE;
    const allocator = new PageAllocator(PAGE, end);
    const taken: { at: number; size: number }[] = [];
    for (const { size, alignment, offset, gives, which } of steps) {
      if (gives && taken.length > 0) {
        const [{ at, size }] = taken.splice(which % taken.length, 1);
        allocator.give(at, size);
        continue;
      }
      const at = allocator.take(size, alignment, offset % alignment);
      if (at === undefined) continue;
      assertEquals((at - offset % alignment) % alignment, 0);
      assert(at >= PAGE && at + size <= end);
      assert(taken.every((other) => at + size <= other.at || other.at + other.size <= at));
      taken.push({ at, size });
    }
    for (const { at, size } of taken) allocator.give(at, size);
    assertEquals(allocator.take(end - PAGE), PAGE);
  }));
});

Deno.test("there is no piece that is too small", () => {
  const allocator = new PageAllocator(0, 4 * PAGE);
  assertEquals(allocator.take(5 * PAGE), undefined);
  assertEquals([allocator.take(PAGE), allocator.take(2 * PAGE)], [0, PAGE]);
  allocator.give(0, PAGE);
  assertEquals(allocator.take(2 * PAGE), undefined);
});
