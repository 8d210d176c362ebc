import { asm, boot, expect } from "@vmexit/vmexit";
import { Cmos, type CmosOptions, Pic, TestClock } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { PortDriver } from "./port_driver.ts";

const SECOND = 1e9;
const DATE = new Date("2024-02-28T23:59:58Z");

class CmosDriver extends PortDriver {
  constructor(readonly cmos: Cmos, readonly pic = new Pic({ vectors: [0x20, 0x28] })) {
    super([cmos, pic]);
  }

  read(index: number): number {
    this.out(0x70, index);
    return this.in(0x71);
  }

  write(index: number, value: number): void {
    this.outs([0x70, index], [0x71, value]);
  }

  /** Year, month, day, hours, minutes, seconds as they are read, in hex. */
  time(): string {
    return [0x32, 9, 8, 7, 4, 2, 0].map((index) => this.read(index).toString(16).padStart(2, "0"))
      .join(" ");
  }
}

function driven(options: CmosOptions = { date: DATE }): CmosDriver {
  return new CmosDriver(new Cmos(options));
}

Deno.test("the clock counts over the end of a day in a leap year", () => {
  using driver = driven();
  assertEquals([driver.time(), driver.read(6)], ["20 24 02 28 23 59 58", 4]);
  driver.clock.advance(2 * SECOND - 1);
  assertEquals(driver.time(), "20 24 02 28 23 59 59");
  driver.clock.advance(1);
  assertEquals([driver.time(), driver.read(6)], ["20 24 02 29 00 00 00", 5]);
  driver.clock.advance(86_400 * SECOND);
  assertEquals(driver.time(), "20 24 03 01 00 00 00");
});

Deno.test("binary and BCD, 12 and 24 hours", () => {
  using driver = driven();
  driver.write(0x0b, 0x06);
  assertEquals(driver.time(), "14 18 02 1c 17 3b 3a");
  driver.write(0x0b, 0x04);
  assertEquals(driver.read(4), 0x8b, "11 PM");
  driver.write(0x0b, 0x00);
  assertEquals(driver.read(4), 0x91);
  driver.clock.advance(2 * SECOND);
  assertEquals(driver.read(4), 0x12, "midnight is 12 AM");
  driver.clock.advance(12 * 3600 * SECOND);
  assertEquals(driver.read(4), 0x92, "noon is 12 PM");
});

Deno.test("the guest sets the clock: with SET, and with the clock running", () => {
  using driver = driven();
  driver.write(0x0b, 0x82);
  for (
    const [index, value] of [[0, 0x56], [2, 0x34], [4, 0x12], [7, 0x31], [8, 0x12], [9, 0x99]]
  ) {
    driver.write(index, value);
  }
  driver.write(0x32, 0x19);
  driver.clock.advance(10 * SECOND);
  assertEquals(driver.time(), "19 99 12 31 12 34 56", "it stands");
  driver.write(0x0b, 0x02);
  driver.clock.advance(SECOND);
  assertEquals(driver.cmos.date, new Date("1999-12-31T12:34:57Z"));
  driver.write(2, 0x59);
  assertEquals(driver.cmos.date, new Date("1999-12-31T12:59:57Z"));
});

Deno.test("the test sets the clock", () => {
  using driver = driven({});
  assertEquals(driver.time(), "20 00 01 01 00 00 00");
  driver.cmos.date = DATE;
  assertEquals(driver.time(), "20 24 02 28 23 59 58");
  assertThrows(() => driver.cmos.date = new Date("noon"), RangeError, "no date");
  assertThrows(() => new Cmos({ date: new Date(NaN) }), RangeError, "no date");
});

Deno.test("an update is announced before it comes", () => {
  using driver = driven();
  const uip = () => driver.read(0x0a) >> 7;
  assertEquals([driver.read(0x0a), driver.read(0x0d)], [0x26, 0x80]);
  driver.clock.advance(SECOND - 2_228_001);
  assertEquals(uip(), 0);
  driver.clock.advance(1);
  assertEquals([uip(), driver.read(0)], [1, 0x58]);
  driver.clock.advance(2_228_000);
  assertEquals([uip(), driver.read(0)], [0, 0x59]);
  driver.write(0x0b, 0x82);
  driver.clock.advance(SECOND - 1);
  assertEquals(uip(), 0, "with SET there is none");
});

Deno.test("a divider that is held begins half a second before an update", () => {
  using driver = driven();
  driver.write(0x0a, 0x76);
  driver.clock.advance(5 * SECOND);
  assertEquals(driver.read(0), 0x58);
  driver.write(0x0a, 0x26);
  driver.clock.advance(SECOND / 2 - 1);
  assertEquals(driver.read(0), 0x58);
  driver.clock.advance(1);
  assertEquals(driver.read(0), 0x59);
});

Deno.test("register C has what happened since it was read, and its interrupt is a level", () => {
  using driver = driven();
  const { pic } = driver;
  assertEquals(driver.read(0x0c), 0);
  driver.write(1, 0x59);
  driver.write(3, 0x59);
  driver.write(5, 0x23);
  driver.clock.advance(SECOND);
  assertEquals([driver.read(0x0c), driver.read(0x0c)], [0x70, 0]);
  driver.clock.advance(SECOND);
  assertEquals([driver.read(0x0c), pic.requested], [0x50, 0], "none is enabled");
  driver.write(0x0b, 0x12);
  driver.clock.advance(SECOND);
  driver.in(0x71);
  assertEquals(pic.requested, 0x100);
  assertEquals(driver.read(0x0c), 0xd0);
  driver.write(0x0b, 0x92);
  assertEquals(driver.read(0x0b), 0x82, "SET clears the enable of updates");
});

for (
  const [what, alarm, seconds] of [
    ["a time", [0x05, 0x00, 0x00], 7],
    ["any second of a minute", [0xff, 0x01, 0x00], 62],
    ["each second", [0xc0, 0xff, 0xff], 1],
  ] as const
) {
  Deno.test(`the alarm of ${what}`, () => {
    using driver = driven();
    for (const [index, value] of alarm.entries()) driver.write(1 + 2 * index, value);
    driver.write(0x0b, 0x22);
    driver.read(0x0c);
    driver.clock.advance(seconds * SECOND - 1);
    driver.in(0x70);
    assertEquals(driver.pic.requested, 0);
    driver.clock.advance(1);
    driver.in(0x70);
    assertEquals([driver.pic.requested, driver.read(0x0c) & 0xa0], [0x100, 0xa0]);
  });
}

for (const [rate, hertz] of [[1, 256], [2, 128], [3, 8192], [6, 1024], [15, 2]] as const) {
  Deno.test(`the periodic interrupt of rate ${rate}: ${hertz} a second`, () => {
    using driver = driven();
    driver.write(0x0a, 0x20 | rate);
    driver.write(0x0b, 0x42);
    driver.read(0x0c);
    const period = SECOND / hertz;
    driver.clock.advance(Math.floor(period) - 1);
    assertEquals(driver.read(0x0c), 0);
    driver.clock.advance(2);
    assertEquals(driver.read(0x0c), 0xc0);
    driver.write(0x0a, 0x20);
    driver.clock.advance(Math.ceil(period));
    assertEquals(driver.read(0x0c) & 0x40, 0);
  });
}

Deno.test("the memory's sizes, and a checksum of them", () => {
  const sizes: readonly [memory: string, base: number, extended: number, above16: number][] = [
    ["256K", 256, 0, 0],
    ["2M", 640, 1024, 0],
    ["24M", 640, 23 * 1024, 128],
    ["96M", 640, 65535, 80 * 16],
  ];
  for (const [memory, base, extended, above16] of sizes) {
    const cmos = new Cmos({ content: { 0x10: 0x40, 0x0f: 5 } });
    using _vm = boot(asm`hlt`, { memory: memory as "2M", devices: [cmos] });
    const word = (index: number) => cmos.ram[index] | cmos.ram[index + 1] << 8;
    assertEquals([0x15, 0x17, 0x30, 0x34].map(word), [base, extended, extended, above16]);
    const sum = cmos.ram.subarray(0x10, 0x2e).reduce((sum, byte) => sum + byte, 0);
    assertEquals(cmos.ram[0x2e] << 8 | cmos.ram[0x2f], sum);
    assertEquals([cmos.ram[0x0f], cmos.ram[0x10]], [5, 0x40]);
  }
  const cmos = new Cmos();
  const slots = [{ gpa: 2 ** 32, size: 0x20_0000 }];
  using _vm = boot(asm`hlt`, { slots, devices: [cmos] });
  assertEquals([...cmos.ram.subarray(0x5b, 0x5e)], [32, 0, 0]);
});

Deno.test("a reset keeps time and memory, and ends interrupts; what was saved comes back", () => {
  using driver = driven();
  const { cmos, pic } = driver;
  driver.write(0x8f, 0x0a);
  assertEquals([cmos.isNmiMasked, cmos.ram[0x0f]], [true, 0x0a]);
  driver.write(0x0b, 0x72);
  driver.clock.advance(SECOND);
  driver.in(0x70);
  const state = structuredClone(cmos.save());
  cmos.reset();
  assertEquals([driver.read(0x0b), driver.read(0x0c), cmos.ram[0x0f]], [2, 0, 0x0a]);
  driver.clock.advance(100 * SECOND);
  cmos.restore(state);
  assertEquals([driver.time(), driver.read(0x0b)], ["20 24 02 28 23 59 59", 0x72]);
  assert((driver.read(0x0c) & 0x80) !== 0);
  pic.acknowledge();
  driver.outs([0xa0, 0x20], [0x20, 0x20]);
  driver.clock.advance(SECOND);
  driver.in(0x70);
  assertEquals(pic.requested, 0x100);
  assertEquals([driver.in(0x70), driver.in(0x70, 2) & 0xff], [0xff, 0xff]);
});

Deno.test("a guest sleeps by the periodic interrupt, and acknowledges both controllers", () => {
  const clock = new TestClock();
  using vm = boot(
    asm`
      mov word [0x70 * 4], tick
      mov word [0x70 * 4 + 2], 0
      mov al, 0x0b
      out 0x70, al
      mov al, 0x42
      out 0x71, al
    again:
      sti
      hlt
      cli
      cmp byte [0x7000], 10
      jb again
      hlt
    tick:
      inc byte [0x7000]
      mov al, 0x0c
      out 0x70, al
      in al, 0x71
      mov al, 0x20
      out 0xa0, al
      out 0x20, al
      iret
    `,
    { clock, devices: [new Pic({ vectors: [0x08, 0x70] }), new Cmos()] },
  );
  vm.run();
  expect(vm).toHaveMemory(0x7000, [10]);
  assertEquals(Math.round(clock.nanoseconds / 1e6), 10);
});
