import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { boot, Image, openHandles } from "@vmexit/vmexit";
import { assertEquals, assertLess } from "@std/assert";
import { mappings, openFds } from "./injected_libc.ts";

const WARM_UP = 50;
const MACHINES = 1000;
const MOST_GROWTH = 20 * 2 ** 20;

/** Guest memory is ordinary buffers: without a full collection, what is counted is what the collector has not come to yet. */
function collect(): void {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc");
  for (let round = 0; round < 3; round++) gc();
}

Deno.test("1,000 machines run and disposed leave no descriptor, no mapping and no more than 20 MB", () => {
  const guest = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });
  const live = () => {
    using vm = boot(guest);
    assertEquals(vm.run().reason, "HLT");
  };
  const handles = openHandles();
  for (let machine = 0; machine < WARM_UP; machine++) live();
  collect();
  const before = { fds: openFds(), mappings: mappings(), rss: Deno.memoryUsage().rss };
  for (let machine = 0; machine < MACHINES; machine++) live();
  collect();
  assertEquals(openHandles(), handles);
  assertEquals(openFds(), before.fds);
  const after = mappings();
  assertEquals(after.vcpus, before.mappings.vcpus);
  const mapped = after.all - before.mappings.all;
  // The engine maps memory of its own, a little more or less each time; one for each machine would be a thousand.
  assertLess(mapped, MACHINES / 50, `${mapped} mappings more`);
  const grown = Deno.memoryUsage().rss - before.rss;
  assertLess(grown, MOST_GROWTH, `${grown} bytes more`);
});
