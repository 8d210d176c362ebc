import {
  asm,
  boot,
  type BootOptions,
  expect,
  hlt,
  interleavings,
  type Machine,
  portOut,
  requires,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

const COUNTER = 0x20004;
const ROUNDS = 4;
const spinlock = asm.file("../../guests/smp/spinlock.asm");
const brokenLock = asm.file("../../guests/smp/broken_lock.asm");
const cpus = [{}, {}] as const;

const test = (name: string, body: () => void) =>
  Deno.test({ ...requires({ singleStep: true }, name), fn: body });

/** Runs two CPUs that count, and gives what they counted. */
function count(guest: typeof spinlock, seed: number, options: BootOptions = {}): number {
  using vm = boot(guest, {
    cpus,
    registers: { ecx: ROUNDS },
    timeout: 20_000,
    interleaving: { seed, instructions: 4 },
    ...options,
  });
  vm.run();
  return vm.memory.u32(COUNTER);
}

test("a spinlock loses no increment, whatever the interleaving", () => {
  interleavings(10, (seed) => assertEquals(count(spinlock, seed), 2 * ROUNDS));
});

test("a broken lock's race is found, printed with its seed, and replayed from it", () => {
  const error = assertThrows(() =>
    interleavings(100, (seed) => {
      using vm = boot(brokenLock, {
        cpus,
        registers: { ecx: ROUNDS },
        timeout: 20_000,
        interleaving: { seed, instructions: 4 },
      });
      vm.run();
      expect(vm).toHaveMemory(COUNTER, new Uint8Array([2 * ROUNDS, 0, 0, 0]));
    }), Error);
  const [line, found] = /interleaving seed (\d+): boot with .*/.exec(error.message)!;
  console.log(line);
  const seed = Number(found);
  assertEquals(
    line,
    `interleaving seed ${seed}: boot with { interleaving: { seed: ${seed}, instructions: 4 } } to replay`,
  );
  const counted = count(brokenLock, seed);
  assert(counted < 2 * ROUNDS, `${counted}`);
  for (let again = 0; again < 3; again++) assertEquals(count(brokenLock, seed), counted);
});

/** All that a run leaves. */
function outcome(vm: Machine): unknown {
  return [
    vm.log.records(),
    vm.memory.read(0x20000, 16),
    vm.cpus.map(({ registers: { rip, ecx, rflags } }) => [rip, ecx, rflags.value]),
  ];
}

test("the same seed, the same exits, registers and memory; other seeds, others", () => {
  const guest = asm`
      bits 32
    again:
      lock inc dword [0x20000]
      mov al, [0x20000]
      out 0x10, al
      loop again
      hlt
  `;
  const run = (seed: number) => {
    using vm = boot(guest, {
      cpus,
      registers: { ecx: 6 },
      interleaving: { seed },
      timeout: 20_000,
    });
    vm.ports.on(0x10, { write() {} });
    vm.run();
    return outcome(vm);
  };
  const runs = [1, 2, 3].map(run);
  assertEquals([1, 2, 3].map(run), runs);
  assert(JSON.stringify(runs[0], text) !== JSON.stringify(runs[1], text));
});

const text = (_: string, value: unknown) => typeof value === "bigint" ? String(value) : value;

test("with local APICs: INIT, SIPI, IPIs and HLT are the same for the same seed", () => {
  const start = (seed: number) => {
    using vm = boot(asm.file("../../guests/smp/bring_up.asm"), {
      cpus: 3,
      registers: { ebx: 2 },
      interleaving: { seed },
      timeout: 20_000,
    });
    vm.run();
    assertEquals(vm.memory.read(0x20010, 3), new Uint8Array([0, 1, 2]));
    return vm.log.records();
  };
  assertEquals(start(5), start(5));
  const play = (seed: number) => {
    using vm = boot(asm.file("../../guests/smp/ping_pong.asm"), {
      cpus: [{}, { entry: "pong" }],
      irqchip: true,
      gates: { 0x40: "on_interrupt" },
      registers: { ecx: 3 },
      interleaving: { seed },
      timeout: 20_000,
    });
    expect(vm).toExit({
      0: [portOut(0x10, "i").times(3), hlt()],
      1: [portOut(0x10, "o").times(3), hlt()],
    });
    return vm.log.records();
  };
  assertEquals(play(6), play(6));
});

test("an interrupt handler that loops does not hold up the machine", () => {
  using vm = boot(
    asm`
      bits 32
      sti
      hlt
    second:
      mov ecx, 100
    work:
      loop work
      mov byte [0x20000], 1
      hlt
    on_interrupt:
      cmp byte [0x20000], 1
      jne on_interrupt
      cli
      out 0x10, al
      mov dword [esp + 8], 0x2
      iretd
    `,
    {
      cpus: [{}, { entry: "second" }],
      gates: { 0x40: "on_interrupt" },
      interleaving: { seed: 3 },
      timeout: 20_000,
    },
  );
  vm.ports.on(0x10, { write() {} });
  vm.inject.interrupt(0x40);
  vm.run();
  assertEquals(vm.memory.u8(0x20000), 1);
});

test("every failure of a machine that is interleaved prints its seed", () => {
  using vm = boot(asm`hlt`, { cpus, interleaving: { seed: 17 } });
  vm.run();
  const line = "interleaving seed 17: boot with { interleaving: { seed: 17 } } to replay";
  const failure = assertThrows(() => expect(vm.cpus[1]).toHaveRegisters({ al: 1 }), Error);
  assertStringIncludes(failure.message, "expect(vm.cpus[1]).toHaveRegisters({ al: 0x1 })");
  assertStringIncludes(failure.message, line);
  using other = boot(
    asm`
    again:
      in al, 0x20
      jmp again
    `,
    { cpus, interleaving: { seed: 17 } },
  );
  assertStringIncludes(assertThrows(() => other.run(), Error).message, line);
  other.ports.on(0x20, { read: () => 0 });
  assertStringIncludes(assertThrows(() => other.run({ timeout: 20 }), Error).message, line);
});

test("breakpoints and steps stop a CPU that is interleaved", () => {
  using vm = boot(spinlock, { cpus, registers: { ecx: 1 }, interleaving: { seed: 1 } });
  using owned = vm.cpus[1].debug.breakAt("owned", { by: "step" });
  assertEquals([vm.run().reason, vm.exitingCpu.number, owned.hits], ["DEBUG", 1, 1] as unknown[]);
  expect(vm.cpus[1]).toHaveRegisters({ rip: "owned" });
  assertEquals(vm.cpus[1].step().reason, "DEBUG");
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.memory.u32(COUNTER), 2);
});

Deno.test("interleavings: the seed is in whatever was thrown, and ranges that are none are refused", () => {
  const literal: unknown = "text";
  const seen: number[] = [];
  const error = assertThrows(() =>
    interleavings({ first: 5, count: 9 }, (seed) => {
      seen.push(seed);
      if (seed === 7) throw new TypeError("broken");
      boot(asm`hlt`, { cpus, interleaving: { seed } })[Symbol.dispose]();
    }), TypeError);
  assertEquals([error.message, seen], ["interleaving seed 7: broken", [5, 6, 7]] as unknown[]);
  assertStringIncludes(error.stack!, "TypeError: interleaving seed 7: broken\n");
  const thrown = assertThrows(() =>
    interleavings(1, () => {
      throw literal;
    }), Error);
  assertEquals(thrown.message, "interleaving seed 0: text");
  const told = new Error("interleaving seed 0: told");
  assertEquals(
    assertThrows(() =>
      interleavings(1, () => {
        throw told;
      }), Error).message,
    told.message,
  );
  for (const count of [0, -1, 1.5, NaN]) {
    assertThrows(
      () => interleavings(count, () => {}),
      RangeError,
      `Cannot try ${count} interleavings`,
    );
  }
  assertThrows(() => interleavings({ first: -1, count: 1 }, () => {}), RangeError, "from seed -1");
});
