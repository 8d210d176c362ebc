import { assertEquals } from "@std/assert";
import { fakeLibc } from "../../ffi/fake_libc.ts";
import { CoalescedRings } from "../../../lib/kvm/remote/coalesced_rings.ts";

const PAGE = 4096;
const MAPPING = 3 * PAGE;

/** Copies of vCPUs' mappings, one behind the other in a window at address 0: of each the ring's page. */
function copies(count: number) {
  const { libc } = fakeLibc({
    memory: (address) => pages[Math.floor(Number(address) / MAPPING)],
  });
  const pages = Array.from({ length: count }, () => new ArrayBuffer(PAGE));
  const rings = new CoalescedRings(libc);
  const mappings = pages.map((_, index) => ({
    descriptor: 100 + index,
    real: 0,
    copy: index * MAPPING,
    length: MAPPING,
  }));
  const words = pages.map((page) => new Int32Array(page));
  return { rings, mappings, words };
}

Deno.test("what one vCPU's run has left in the ring, the copies of its VM's others have too, and no other VM's", () => {
  const { rings, mappings, words } = copies(3);
  for (const [index, vm] of [1, 1, 2].entries()) {
    rings.addVcpu(100 + index, vm);
    rings.map(mappings[index], 0n);
  }
  rings.beforeRun(mappings[0]);
  words[0].set([0, 2, 7, 8, 9]);
  rings.afterRun(mappings[0]);
  assertEquals([...words[1].subarray(0, 5)], [0, 2, 7, 8, 9]);
  assertEquals([...words[2].subarray(0, 5)], [0, 0, 0, 0, 0]);
});

Deno.test("a ring that was emptied in one copy is empty for the vCPU that runs next, whichever it is", () => {
  const { rings, mappings, words } = copies(2);
  for (const index of [0, 1]) {
    rings.addVcpu(100 + index, 1);
    rings.map(mappings[index], 0n);
  }
  rings.beforeRun(mappings[1]);
  words[1].set([0, 3]);
  rings.afterRun(mappings[1]);
  words[0][0] = 3;
  rings.beforeRun(mappings[1]);
  assertEquals([...words[1].subarray(0, 2)], [3, 3]);
  // The run itself leaves 84 more, round the ring's end.
  words[1].set([3, 1]);
  rings.afterRun(mappings[1]);
  words[1][0] = 1;
  rings.beforeRun(mappings[0]);
  assertEquals(words[0][0], 1);
  words[0].set([1, 1]);
  rings.afterRun(mappings[0]);
  assertEquals([...words[1].subarray(0, 2)], [1, 1]);
});

Deno.test("a vCPU that is alone, one that is made later, and one that is gone", () => {
  const { rings, mappings, words } = copies(2);
  rings.addVcpu(100, 1);
  rings.map(mappings[0], 0n);
  rings.beforeRun(mappings[0]);
  words[0].set([0, 1, 5]);
  rings.afterRun(mappings[0]);
  rings.addVcpu(101, 1);
  rings.map(mappings[1], 0n);
  assertEquals([...words[1].subarray(0, 3)], [0, 1, 5]);
  rings.unmap(mappings[0]);
  words[1].set([1, 1]);
  rings.beforeRun(mappings[1]);
  rings.afterRun(mappings[1]);
  assertEquals([...words[0].subarray(0, 3)], [0, 1, 5]);
  // A VM that is made later may have the descriptor of one that has gone.
  rings.unmap(mappings[1]);
  words[0].fill(0);
  words[1].fill(0);
  for (const index of [0, 1]) {
    rings.addVcpu(100 + index, 1);
    rings.map(mappings[index], 0n);
  }
  rings.beforeRun(mappings[0]);
  assertEquals([words[0][0], words[1][0]], [0, 0]);
});
