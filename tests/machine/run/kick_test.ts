import {
  asm,
  AssertionError,
  boot,
  type BootOptions,
  exit,
  expect,
  hlt,
  type Machine,
  portOut,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** Starts a thread that kicks a machine after some milliseconds. */
async function kicker(vm: Machine, after: number): Promise<AsyncDisposable> {
  const url = new URL("./kicking_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage({ kick: vm.kick, after });
  return {
    [Symbol.asyncDispose]: () => {
      worker.terminate();
      return Promise.resolve();
    },
  };
}

const SPINS = asm`
  again:
    inc dword [0x900]
    cmp byte [0x904], 0
    je again
    hlt
`;

Deno.test.each([
  { what: "spins", guest: SPINS, options: {} },
  { what: "spins, with local APICs", guest: SPINS, options: { irqchip: true } },
  {
    what: "waits in HLT",
    guest: asm`
      inc dword [0x900]
      sti
      hlt
    `,
    options: { irqchip: true },
  },
])("another thread kicks a guest that $what out of its run", async ({ guest, options }) => {
  using vm = boot(guest, { timeout: 10_000, ...options } as BootOptions);
  await using _thread = await kicker(vm, 50);
  assertEquals(vm.run().reason, "INTR");
  assert(vm.memory.u32(0x900) > 0, "the guest has run");
  assertEquals(vm.log.records().map(({ reason }) => reason), [10]);
  assertEquals(Atomics.load(vm.kick, 0), 0);
});

Deno.test("a kicked guest runs on; a transcript foresees a kick, or fails", () => {
  using vm = boot(SPINS);
  Atomics.store(vm.kick, 0, 1);
  expect(vm).toExit([exit("INTR")]);
  Atomics.store(vm.kick, 0, 1);
  const { message } = assertThrows(() => expect(vm).toExit([hlt()]), AssertionError);
  assertStringIncludes(message, "received INTR");
  vm.memory.setU8(0x904, 1);
  expect(vm).toExit([hlt()]);
});

Deno.test("a kick ends a run of several CPUs, and comes between a guest's exits", () => {
  using vm = boot(
    asm`
      out 0x80, al
      jmp $
    second:
      jmp $
    `,
    { cpus: [{}, { entry: "second" }] },
  );
  vm.ports.on(0x80, { write: () => void Atomics.store(vm.kick, 0, 1) });
  assertEquals(vm.run().reason, "INTR");
  assertEquals(vm.log.total, 2);

  using one = boot(asm`
    out 0x80, al
    out 0x81, al
    hlt
  `);
  one.ports.on(0x80, { write: () => void Atomics.store(one.kick, 0, 1) });
  expect(one).toExit([portOut(0x80), exit("INTR"), portOut(0x81), hlt()]);
});

Deno.test("a machine that is disposed is not kicked", () => {
  const vm = boot(asm`hlt`);
  vm[Symbol.dispose]();
  assertThrows(() => vm.kick, TypeError, "disposed");
});
