import { assert, assertEquals, assertThrows } from "@std/assert";
import { asm, boot, type Machine, TimeLimitError } from "@vmexit/vmexit";
import { benchExits, resultsTable } from "@vmexit/vmexit/bench";
import { isMeasured, parseResults } from "../../lib/bench/results.ts";
import { recorded } from "../../lib/bench/histogram.ts";

const ROUNDS = 200;
const SLOW_MILLISECONDS = 0.5;

const GUEST = asm`
    mov cx, ${ROUNDS}
  again:
    in  al, 0x60
    out dx, ax
    mov [0x9000], eax
    loop again
    hlt
`;

function wait(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

function busy(): Machine {
  const vm = boot(GUEST, { memory: "4K", timeout: 20_000, registers: { dx: 0x1000 } });
  vm.ports.on(0x60, { read: () => 1 });
  vm.ports.on(0x1000, { write: () => wait(SLOW_MILLISECONDS) });
  vm.mmio.on(0x9000, { write() {} });
  return vm;
}

Deno.test("each kind of exit has its times: a handler's are those of its exits", () => {
  using vm = busy();
  const results = benchExits(vm);
  const kinds = results.benchmarks.filter(isMeasured);
  assertEquals(kinds.map(({ name, nanoseconds }) => [name, nanoseconds.count]).sort(), [
    ["IO in 0x60 byte", ROUNDS],
    ["IO out 0x1000 word", ROUNDS],
    ["MMIO write 0x9000 dword", ROUNDS],
  ]);
  for (const { name, nanoseconds, histogram } of kinds) {
    assert(nanoseconds.min > 0);
    assertEquals(nanoseconds.min > SLOW_MILLISECONDS * 1e6, name.startsWith("IO out"), name);
    assertEquals(recorded(histogram).reduce((sum, each) => sum + each.samples, 0), ROUNDS);
  }
  assertEquals(parseResults(JSON.stringify(results), "exits.json"), results);
  assert(resultsTable(results).includes("\nIO out 0x1000 word"));
});

Deno.test("a guest is timed again, and exits that are not timed cost and tell nothing", () => {
  using vm = boot(
    asm`
      out 0x10, al
      out 0x10, al
      hlt
      out 0x10, al
      out 0x10, al
      out 0x10, al
      hlt
      out 0x10, al
      hlt
    `,
    { ports: { 0x10: { write() {} } } },
  );
  const count = () =>
    benchExits(vm).benchmarks.map((each) => isMeasured(each) && each.nanoseconds.count);
  assertEquals([count(), count()], [[2], [3]]);
  vm.run();
  assertEquals(vm.log.records().map(({ time }) => time), new Array(9).fill(undefined));
});

Deno.test("many addresses are one kind: a guest may touch as many as it likes", () => {
  using vm = boot(
    asm`
      mov cx, 1500
      mov bx, 0x8000
    again:
      mov [bx], al
      inc bx
      loop again
      hlt
    `,
    { memory: "4K", timeout: 20_000, mmio: [[[0x8000, 0x8fff], { write() {} }]] },
  );
  const kinds = benchExits(vm).benchmarks.filter(isMeasured);
  assertEquals(kinds.length, 1001);
  assertEquals([kinds[0].name, kinds[0].nanoseconds.count], ["MMIO write elsewhere byte", 500]);
});

Deno.test("what cannot be timed is refused at the test's line, and the machine is not timed on", () => {
  using vm = boot(asm`
    hlt
  second:
    out 0x10, al
    hlt
  `);
  const error = assertThrows(() => benchExits(vm), TypeError, "the guest made only one");
  const first = error.stack?.split("\n").find((line) => line.startsWith("    at "));
  assert(first?.includes("bench_exits_test.ts"), error.stack);
  assertThrows(() => benchExits(vm), Error, "0x10");
  let again = 0;
  vm.ports.on(0x10, {
    write() {
      assertThrows(() => benchExits(vm), TypeError, "they are being timed already");
      again++;
    },
  });
  vm.registers.rip = "second";
  assertEquals(benchExits(vm).benchmarks.length, 1);
  assertEquals(again, 1);
  vm[Symbol.dispose]();
  assertThrows(() => benchExits(vm), TypeError, "disposed");
});

for (const wrong of [undefined, null, 5, {}, { log: {} }]) {
  Deno.test(`exits of ${JSON.stringify(wrong)} are not timed, since it is no machine`, () => {
    const error = assertThrows(
      () => benchExits(wrong as Machine),
      TypeError,
      `Cannot time the exits of ${wrong}: give a machine, as boot() returns it`,
    );
    const first = error.stack?.split("\n").find((line) => line.startsWith("    at "));
    assert(first?.includes("bench_exits_test.ts"), error.stack);
  });
}

Deno.test("a guest that never exits is ended by its time limit, at the test's line", () => {
  using vm = boot(asm`jmp $`, { timeout: 50 });
  const error = assertThrows(() => benchExits(vm), TimeLimitError);
  const first = error.stack?.split("\n").find((line) => line.startsWith("    at "));
  assert(first?.includes("bench_exits_test.ts"), error.stack);
});

Deno.test("the option timeExits notes in the log when each exit came", () => {
  using vm = boot(
    asm`
      out 0x10, al
      out 0x10, al
      hlt
    `,
    { timeExits: true, ports: { 0x10: { write: () => wait(2) } } },
  );
  const before = performance.now();
  vm.run();
  const after = performance.now();
  const times = vm.log.records().map(({ time }) => time!);
  assertEquals(times.length, 3);
  assert(
    before < times[0] && times[0] + 2 < times[1] && times[1] + 2 < times[2] && times[2] < after,
    `${times}`,
  );
  // Beside a measurement, too.
  vm.registers.rip = vm.bootRegisters.rip;
  benchExits(vm);
  assert(vm.log.records().at(-1)!.time! > after);
});

Deno.test("a snapshot's log has its times", () => {
  using vm = boot(
    asm`
    out 0x10, al
    hlt
    hlt
  `,
    { timeExits: true, ports: { 0x10: { write() {} } } },
  );
  vm.run();
  const times = vm.log.records().map(({ time }) => time);
  const snapshot = vm.snapshot();
  vm.run();
  vm.restore(snapshot);
  assertEquals(vm.log.records().map(({ time }) => time), times);
});
