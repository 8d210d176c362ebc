import { boot, Image, openHandles } from "@vmexit/vmexit";
import { assertEquals, assertLess } from "@std/assert";
import { mappings, openFds } from "./injected_libc.ts";

const WARM_UP = 50;
const MACHINES = 1000;
const MOST_GROWTH = 20 * 2 ** 20;

/** Guest memory is ordinary buffers, which the collector frees when it likes: allocating makes it like to. */
function collect(): void {
  for (let round = 0; round < 200; round++) new Uint8Array(2 ** 20);
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
  const mapped = mappings() - before.mappings;
  // The collector and the compiler map memory of their own; one for each machine would be a thousand.
  assertLess(mapped, MACHINES / 20, `${mapped} mappings more`);
  const grown = Deno.memoryUsage().rss - before.rss;
  assertLess(grown, MOST_GROWTH, `${grown} bytes more`);
});
