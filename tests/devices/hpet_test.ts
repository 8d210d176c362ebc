import { asm, boot, expect } from "@vmexit/vmexit";
import { Hpet, Pic, TestClock } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import { PortDriver } from "./port_driver.ts";

const BASE = 0xfed0_0000;
const CONFIGURATION = BASE + 0x10;
const STATUS = BASE + 0x20;
const COUNTER = BASE + 0xf0;
const timer = (index: number) => BASE + 0x100 + 0x20 * index;

/** IRQ 11, edge, enabled. */
const ROUTED = 11 << 9 | 4;

function driven(hpet = new Hpet()): { hpet: Hpet; driver: PortDriver; pic: Pic } {
  const pic = new Pic({ vectors: [0x20, 0x28] });
  const driver = new PortDriver([hpet, pic]);
  driver.out(0x4d1, 0);
  return { hpet, pic, driver };
}

/** Lets ticks of 10 ns pass, and says what was requested by then; requests are taken. */
function pass(driver: PortDriver, pic: Pic, ticks: number): number {
  driver.clock.advance(10 * ticks);
  driver.in(0x20);
  const { requested } = pic;
  while (pic.hasInterrupt) pic.acknowledge();
  driver.outs([0xa0, 0x20], [0x20, 0x20]);
  return requested;
}

Deno.test("capabilities, and a counter that stands until it is enabled", () => {
  const { driver } = driven();
  using _driver = driver;
  assertEquals([driver.load(BASE), driver.load(BASE + 4)], [0x8086_a201, 10_000_000]);
  driver.clock.advance(1000);
  assertEquals(driver.load(COUNTER), 0);
  driver.store(CONFIGURATION, 0xff);
  assertEquals(driver.load(CONFIGURATION), 3);
  driver.clock.advance(1005);
  assertEquals(driver.load(COUNTER), 100);
  driver.store(CONFIGURATION, 0);
  driver.clock.advance(1000);
  assertEquals(driver.load(COUNTER), 100);
  driver.store(COUNTER, 0xffff_fff0);
  driver.store(COUNTER + 4, 0x1);
  driver.store(CONFIGURATION, 1);
  driver.clock.advance(0x200 * 10);
  assertEquals([driver.load(COUNTER), driver.load(COUNTER + 4)], [0x1f0, 2]);
  driver.store(COUNTER + 4, 0xffff_ffff);
  driver.clock.advance(10);
  assertEquals([driver.load(COUNTER), driver.load(COUNTER + 4)], [0x1f1, 0xffff_ffff]);
});

Deno.test("a comparator interrupts once", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  driver.store(timer(0), ROUTED);
  driver.store(timer(0) + 8, 500);
  driver.store(timer(0) + 12, 0);
  driver.store(CONFIGURATION, 1);
  assertEquals([pass(driver, pic, 499), pass(driver, pic, 1)], [0, 0x800]);
  // The same tick matches once, whatever is written then.
  driver.store(timer(1), 0);
  assertEquals([pass(driver, pic, 0), pass(driver, pic, 10_000)], [0, 0]);
  driver.store(timer(0) + 8, 11_000);
  assertEquals(pass(driver, pic, 500), 0x800);
});

Deno.test("a periodic timer, set as Linux does", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  driver.store(CONFIGURATION, 1);
  driver.store(timer(0), ROUTED | 0x148 | 2);
  driver.store(timer(0), ROUTED | 0x148);
  driver.store(timer(0) + 8, 1000);
  assertEquals(driver.load(timer(0)) & 0x40, 0, "the bit to set the value is gone");
  driver.store(timer(0) + 8, 300);
  assertEquals([pass(driver, pic, 999), pass(driver, pic, 1), pass(driver, pic, 299)], [
    0,
    0x800,
    0,
  ]);
  assertEquals([pass(driver, pic, 1), driver.load(timer(0) + 8)], [0x800, 1600]);
  assertEquals([pass(driver, pic, 3001), driver.load(timer(0) + 8)], [0x800, 4600]);
});

Deno.test("a level stays until its status is cleared", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  driver.out(0x4d1, 0x08);
  driver.store(timer(2), ROUTED | 2);
  driver.store(timer(2) + 8, 10);
  driver.store(timer(2) + 12, 0);
  driver.store(CONFIGURATION, 1);
  driver.clock.advance(100);
  assertEquals([driver.load(STATUS), pic.requested], [4, 0x800]);
  driver.store(STATUS, 3);
  assertEquals([driver.load(STATUS), pic.requested], [4, 0x800]);
  driver.store(STATUS, 4);
  assertEquals([driver.load(STATUS), pic.requested], [0, 0]);
});

Deno.test("a timer of 32 bits wraps with them", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  driver.store(COUNTER, 0xffff_fff0);
  driver.store(COUNTER + 4, 7);
  driver.store(timer(0), ROUTED | 0x100);
  driver.store(timer(0) + 8, 5);
  assertEquals(driver.load(timer(0) + 12), 0);
  driver.store(CONFIGURATION, 1);
  assertEquals([pass(driver, pic, 20), pass(driver, pic, 1)], [0, 0x800]);
});

Deno.test("legacy replacement takes IRQ 0 and IRQ 8, and routes that there are not do not stick", () => {
  const { driver, pic } = driven();
  using _driver = driver;
  for (const index of [0, 1]) {
    driver.store(timer(index), 31 << 9 | 4);
    assertEquals([driver.load(timer(index)), driver.load(timer(index) + 4)], [0x34, 0x0800]);
    driver.store(timer(index) + 8, 10 + index);
    driver.store(timer(index) + 12, 0);
  }
  driver.store(CONFIGURATION, 3);
  assertEquals([pass(driver, pic, 10), pass(driver, pic, 1)], [1, 0x100]);
});

Deno.test("the GSIs of an I/O APIC are routes where there is one", () => {
  const routed = (irqchip: boolean) => {
    using driver = new PortDriver([new Hpet()], { irqchip });
    driver.store(timer(0), 23 << 9 | 4);
    return [driver.load(timer(0)), driver.load(timer(0) + 4)];
  };
  assertEquals(routed(true), [23 << 9 | 0x34, 0x00f0_0800]);
  assertEquals(routed(false), [0x34, 0x0800]);
});

Deno.test("accesses of 8 bytes; others than of 4 and 8 read zero, and are lost", () => {
  const { driver, hpet } = driven(new Hpet({ timers: 1 }));
  using _driver = driver;
  const { vm } = driver;
  vm.call("load64", { edx: BASE });
  assertEquals(vm.memory.u64(0x8000), 0x0098_9680_8086_a001n);
  vm.memory.setU64(0x8000, 0x1234_5678_9abc_def0n);
  vm.call("store64", { edx: timer(0) + 8 });
  assertEquals([driver.load(timer(0) + 8), driver.load(timer(0) + 12)], [0x9abc_def0, 0x1234_5678]);
  vm.call("store8", { edx: timer(0) + 8, eax: 0 });
  assertEquals(Number(vm.call("load8", { edx: timer(0) + 8, eax: 0 })) & 0xff, 0);
  assertEquals(driver.load(timer(0) + 8), 0x9abc_def0);
  assertEquals([driver.load(timer(1)), driver.load(BASE + 0x80)], [0, 0]);
  driver.store(timer(1) + 8, 5);
  driver.store(BASE, 0);
  assertThrows(() => new Hpet({ timers: 33 }), RangeError, "33 timers");
  const state = structuredClone(hpet.save());
  hpet.reset();
  assertEquals(driver.load(timer(0) + 8), 0xffff_ffff);
  hpet.restore(state);
  assertEquals(driver.load(timer(0) + 8), 0x9abc_def0);
});

Deno.test("a saved counter goes on, and so does its timer", () => {
  const { driver, hpet, pic } = driven();
  using _driver = driver;
  driver.store(timer(0), ROUTED);
  driver.store(timer(0) + 8, 100);
  driver.store(timer(0) + 12, 0);
  driver.store(CONFIGURATION, 1);
  pass(driver, pic, 40);
  const state = structuredClone(hpet.save());
  pass(driver, pic, 1000);
  hpet.reset();
  hpet.restore(state);
  assertEquals(driver.load(COUNTER), 40);
  assertEquals([pass(driver, pic, 59), pass(driver, pic, 1)], [0, 0x800]);
});

Deno.test("a guest counts ticks of a periodic timer in legacy replacement", () => {
  const clock = new TestClock();
  using vm = boot(
    asm`
      bits 32
      mov dword [0xfed00100], 0x14c       ; 32 bits, periodic, set the value, enabled
      mov dword [0xfed00108], 100000      ; a millisecond
      mov dword [0xfed00010], 3
    again:
      sti
      hlt
      cli
      cmp byte [0x7000], 5
      jb again
      hlt
    tick:
      inc byte [0x7000]
      mov al, 0x20
      out 0x20, al
      iret
    `,
    { clock, gates: { 0x20: "tick" }, devices: [new Pic({ vectors: [0x20, 0x28] }), new Hpet()] },
  );
  vm.run();
  expect(vm).toHaveMemory(0x7000, [5]);
  assertEquals(Math.round(clock.nanoseconds / 1e6), 5);
});
