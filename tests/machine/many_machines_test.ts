import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { boot, Image } from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertLess } from "@std/assert";
import { remoteLibc } from "../../lib/kvm/remote/kvm_choice.ts";
import { residentSize } from "../kvm/remote/remote_processes.ts";
import { mappings, openFds } from "./injected_libc.ts";

const WARM_UP = 50;
/** As many by default; `VMEXIT_MANY_MACHINES=10000` for the long run. */
const MACHINES = Number(Deno.env.get("VMEXIT_MANY_MACHINES") ?? 150);
const MOST_GROWTH = 20 * 2 ** 20;

/** Guest memory is ordinary buffers: without a full collection, what is counted is what the collector has not come to yet. */
function collect(): void {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc");
  for (let round = 0; round < 3; round++) gc();
}

/** What an emulated machine has in use, where KVM is one's: its memory, and its lowest free descriptor. */
function inMachine(): { rss: number; descriptor: number } {
  const remote = remoteLibc();
  if (remote === undefined) return { rss: 0, descriptor: 0 };
  const { libc, machine } = remote;
  const descriptor = libc.eventfd(0, 0);
  libc.close(descriptor);
  return { rss: residentSize(machine.processes.at(-1)!), descriptor };
}

Deno.test(`${MACHINES} machines run and disposed leave no descriptor, no mapping and no more than 20 MB, on either side`, () => {
  const guest = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });
  const live = () => {
    using vm = boot(guest);
    assertEquals(vm.run().reason, "HLT");
  };
  const handles = openHandles();
  for (let machine = 0; machine < WARM_UP; machine++) live();
  collect();
  const before = { fds: openFds(), mappings: mappings(), rss: Deno.memoryUsage().rss };
  const inside = inMachine();
  for (let machine = 0; machine < MACHINES; machine++) live();
  collect();
  assertEquals(openHandles(), handles);
  assertEquals(openFds(), before.fds);
  const after = mappings();
  assertEquals(after.vcpus, before.mappings.vcpus);
  const mapped = after.all - before.mappings.all;
  // The engine maps memory of its own, a little more or less each time; one for each machine would be all of them.
  assertLess(mapped, Math.max(20, MACHINES / 50), `${mapped} mappings more`);
  const grown = Deno.memoryUsage().rss - before.rss;
  assertLess(grown, MOST_GROWTH, `${grown} bytes more`);
  // Their VMs end by themselves, a few at once.
  let insideAfter = inMachine();
  for (let tries = 0; tries < 100 && insideAfter.descriptor > inside.descriptor; tries++) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    insideAfter = inMachine();
  }
  assert(insideAfter.descriptor <= inside.descriptor, `${insideAfter.descriptor}`);
  const grownInside = insideAfter.rss - inside.rss;
  assertLess(grownInside, MOST_GROWTH, `${grownInside} bytes more in the emulated machine`);
  if (MACHINES >= 1000) console.log(`${mapped} mappings, ${grown} and ${grownInside} bytes more`);
});
