import { asm, boot, expect } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import { PortDriver } from "./port_driver.ts";

const CONTROL = 0x43;
const SPEAKER = 0x61;
const OUT = 0x20;

/** Nanoseconds in which so many ticks have passed. */
const ticks = (count: number) => Math.ceil(count * 1e9 / 1_193_182);

function driven(): { pit: Pit; driver: PortDriver; pass: (count: number) => void } {
  const pit = new Pit();
  const driver = new PortDriver([pit]);
  let passed = 0;
  const pass = (count: number) => {
    passed += count;
    driver.clock.advance(ticks(passed) - driver.clock.nanoseconds);
  };
  return { pit, driver, pass };
}

function program(driver: PortDriver, counter: number, mode: number, count: number): void {
  const port = 0x40 + counter;
  driver.outs([CONTROL, counter << 6 | 0x30 | mode << 1], [port, count & 0xff], [port, count >> 8]);
}

function count(driver: PortDriver, counter: number): number {
  driver.out(CONTROL, counter << 6);
  return driver.in(0x40 + counter) | driver.in(0x40 + counter) << 8;
}

/** The data sheet's waveforms: OUT of counter 2 after each of some ticks since its count was written. */
const WAVES: readonly {
  mode: number;
  count: number;
  /** Whether the gate rises when the count is written: the trigger of modes 1 and 5. */
  triggered?: boolean;
  out: string;
  counts: readonly number[];
}[] = [
  { mode: 0, count: 4, out: "_____----", counts: [4, 4, 3, 2, 1, 0, 0xffff, 0xfffe, 0xfffd] },
  { mode: 1, count: 3, triggered: true, out: "-___----", counts: [3, 3, 2, 1, 0, 0xffff] },
  { mode: 2, count: 3, out: "---_--_--_", counts: [3, 3, 2, 1, 3, 2, 1, 3, 2, 1] },
  { mode: 3, count: 4, out: "---__--__--", counts: [4, 4, 2, 4, 2, 4, 2] },
  { mode: 3, count: 5, out: "----__---__", counts: [4, 4, 2, 0, 4, 2, 4, 2, 0, 4, 2] },
  { mode: 4, count: 3, out: "----_---", counts: [3, 3, 2, 1, 0, 0xffff, 0xfffe] },
  { mode: 5, count: 3, triggered: true, out: "----_---", counts: [3, 3, 2, 1, 0, 0xffff] },
];

for (const { mode, count: value, triggered, out, counts } of WAVES) {
  Deno.test(`mode ${mode}, count ${value}: ${out}`, () => {
    const { driver, pass } = driven();
    using _driver = driver;
    driver.out(SPEAKER, triggered ? 0 : 1);
    program(driver, 2, mode, value);
    if (triggered) driver.out(SPEAKER, 1);
    const seen: string[] = [];
    const counted: number[] = [];
    for (let tick = 0; tick < out.length; tick++) {
      seen.push((driver.in(SPEAKER) & OUT) === 0 ? "_" : "-");
      if (tick < counts.length) counted.push(count(driver, 2));
      pass(1);
    }
    assertEquals(seen.join(""), out);
    assertEquals(counted, counts);
  });
}

Deno.test("a gate that is low holds modes 0 and 4, and begins modes 2 and 3 anew", () => {
  for (const [mode, expected] of [[0, 7], [4, 7], [2, 10], [3, 10]] as const) {
    const { driver, pass } = driven();
    using _driver = driver;
    driver.out(SPEAKER, 1);
    program(driver, 2, mode, 10);
    pass(mode === 3 ? 3 : 4);
    driver.out(SPEAKER, 0);
    pass(100);
    if (mode > 1) assertEquals(driver.in(SPEAKER) & OUT, OUT);
    driver.out(SPEAKER, 1);
    assertEquals(count(driver, 2), expected, `mode ${mode}`);
  }
});

Deno.test("a latched count stands until it is read, and a second latch does nothing", () => {
  const { driver, pass } = driven();
  using _driver = driver;
  program(driver, 0, 2, 0x1234);
  pass(0x11);
  driver.out(CONTROL, 0x00);
  pass(5);
  driver.out(CONTROL, 0x00);
  assertEquals([driver.in(0x40), driver.in(0x40)], [0x24, 0x12]);
  assertEquals(driver.in(0x40), 0x1f, "unlatched: as it counts");
});

Deno.test("read-back latches status and counts of several counters", () => {
  const { driver, pass } = driven();
  using _driver = driver;
  driver.outs([CONTROL, 0x30], [0x40, 0x10]);
  driver.out(CONTROL, 0xe2);
  assertEquals(driver.in(0x40), 0x70, "OUT low, null count, two bytes, mode 0");
  driver.out(0x40, 0x00);
  program(driver, 2, 3, 100);
  pass(2);
  driver.out(CONTROL, 0xca);
  // The status first, then the count, of each.
  assertEquals([driver.in(0x40), driver.in(0x40), driver.in(0x40)], [0x30, 0x0f, 0x00]);
  assertEquals([driver.in(0x42), driver.in(0x42), driver.in(0x42)], [0xb6, 100, 0]);
});

Deno.test("counts of one byte, and BCD", () => {
  const { driver, pass } = driven();
  using _driver = driver;
  driver.outs([CONTROL, 0x15], [0x40, 0x25]);
  pass(1 + 10);
  assertEquals(driver.in(0x40), 0x15);
  driver.outs([CONTROL, 0x20], [0x40, 0x02]);
  pass(1 + 0x100);
  assertEquals(driver.in(0x40), 0x01);
  driver.outs([CONTROL, 0x31], [0x40, 0x00], [0x40, 0x00]);
  pass(2);
  assertEquals(count(driver, 0), 0x9999);
});

Deno.test("a new count of a running mode 2 comes into force with the next period", () => {
  const { driver, pass } = driven();
  using _driver = driver;
  program(driver, 0, 2, 10);
  pass(4);
  driver.outs([0x40, 20], [0x40, 0]);
  assertEquals(count(driver, 0), 7);
  pass(7);
  assertEquals(count(driver, 0), 20);
});

Deno.test("the speaker's tone", () => {
  const { pit, driver } = driven();
  using _driver = driver;
  program(driver, 2, 3, 1193);
  assertEquals(pit.tone, undefined);
  driver.out(SPEAKER, 3);
  assertEquals(Math.round(pit.tone!), 1000);
  driver.out(SPEAKER, 1);
  assertEquals(pit.tone, undefined);
});

Deno.test("the refresh bit toggles every 15 µs", () => {
  const { driver, pass } = driven();
  using _driver = driver;
  const bits: number[] = [];
  for (let index = 0; index < 4; index++) {
    bits.push(driver.in(SPEAKER) & 0x10);
    pass(18);
  }
  assertEquals(bits, [0, 0x10, 0, 0x10]);
});

/** Counts interrupts for as long as a calibrated wait by counter 2 takes, as kernels calibrate their clocks. */
const CALIBRATE = asm`
  %macro put 2
    mov al, %2
    out %1, al
  %endmacro
  mov word [0x08 * 4], tick
  mov word [0x08 * 4 + 2], 0
  put 0x43, 0x34
  put 0x40, 0xa9              ; 1193: a millisecond
  put 0x40, 0x04
  in al, 0x61
  and al, 0xfc
  or al, 1
  out 0x61, al
  put 0x43, 0xb0
  put 0x42, 0x9c              ; 11932: ten of them
  put 0x42, 0x2e
  sti
wait_for_it:
  in al, 0x61
  test al, 0x20
  jz wait_for_it
  cli
  hlt
tick:
  push ax
  inc word [0x7000]
  put 0x20, 0x20
  pop ax
  iret
`;

Deno.test("a guest that waits ten milliseconds by counter 2 has ten ticks of counter 0", () => {
  const devices = () => [new Pic({ vectors: [0x08, 0x70] }), new Pit()];
  using vm = boot(CALIBRATE, { clock: new TestClock({ perExit: 10_000 }), devices: devices() });
  vm.run();
  expect(vm).toHaveMemory(0x7000, [10, 0]);
  // By the host's clock some may be missed, and some come while the guest is held up, as on a PC that is busy.
  using other = boot(CALIBRATE, { devices: devices() });
  other.run();
  assert(other.memory.u16(0x7000) >= 1);
});

Deno.test("mode 0 interrupts once", () => {
  using vm = boot(
    asm`
      mov word [0x08 * 4], tick
      mov word [0x08 * 4 + 2], 0
      mov al, 0x30
      out 0x43, al
      mov al, 0xff
      out 0x40, al
      out 0x40, al
      sti
      hlt
      hlt
    tick:
      inc byte [0x7000]
      mov al, 0x20
      out 0x20, al
      iret
    `,
    { clock: new TestClock(), devices: [new Pic({ vectors: [0x08, 0x70] }), new Pit()] },
  );
  vm.run();
  expect(vm).toHaveMemory(0x7000, [1]);
});

Deno.test("a saved timer goes on from where it was, and a reset one stands", () => {
  const { pit, driver, pass } = driven();
  using _driver = driver;
  program(driver, 0, 2, 1000);
  program(driver, 2, 3, 500);
  driver.out(SPEAKER, 3);
  pass(101);
  const before = [count(driver, 0), driver.in(SPEAKER) & 0x0f];
  const state = structuredClone(pit.save());
  pass(77);
  pit.reset();
  pass(10);
  assertEquals([count(driver, 0), driver.in(SPEAKER) & 0x0f], [0, 0]);
  pit.restore(state);
  assertEquals([count(driver, 0), driver.in(SPEAKER) & 0x0f], before);
});
