import { asm, boot, expect } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import { PortDriver } from "./port_driver.ts";

const MASTER = 0x20;
const SLAVE = 0xa0;
const EOI = 0x20;

/** As a PC's firmware or a kernel sets both up: vectors 0x20 and 0x28. */
function initialize(driver: PortDriver, icw4 = 1): void {
  driver.outs(
    [MASTER, 0x11],
    [SLAVE, 0x11],
    [MASTER + 1, 0x20],
    [SLAVE + 1, 0x28],
    [MASTER + 1, 4],
    [SLAVE + 1, 2],
    [MASTER + 1, icw4],
    [SLAVE + 1, icw4],
  );
}

/** A driver of controllers that are initialized. */
function initialized(icw4?: number): { pic: Pic; driver: PortDriver } {
  const pic = new Pic();
  const driver = new PortDriver([pic]);
  initialize(driver, icw4);
  return { pic, driver };
}

function pulse(pic: Pic, irq: number): void {
  pic.setLine(irq, true);
  pic.setLine(irq, false);
}

Deno.test("before ICW1 nothing interrupts, and the masks are set", () => {
  const pic = new Pic();
  using driver = new PortDriver([pic]);
  pulse(pic, 1);
  assertEquals([pic.hasInterrupt, driver.in(MASTER + 1)], [false, 0xff]);
  initialize(driver);
  // ICW1 clears edges and masks.
  assertEquals([pic.hasInterrupt, driver.in(MASTER + 1), driver.in(MASTER)], [false, 0, 0]);
  pulse(pic, 1);
  assertEquals([pic.hasInterrupt, pic.acknowledge()], [true, 0x21]);
});

Deno.test("priorities, in-service bits and the ends of interrupts", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  pulse(pic, 5);
  pulse(pic, 3);
  assertEquals(driver.in(MASTER), 0x28);
  assertEquals(pic.acknowledge(), 0x23);
  driver.out(MASTER, 0x0b);
  assertEquals(driver.in(MASTER), 0x08);
  assertEquals(pic.hasInterrupt, false, "5 waits for 3");
  pulse(pic, 1);
  assertEquals(pic.acknowledge(), 0x21);
  driver.out(MASTER, EOI);
  assertEquals(pic.inService, 0x08);
  driver.out(MASTER, 0x60 | 3);
  assertEquals([pic.inService, pic.acknowledge()], [0, 0x25]);
});

Deno.test("the slave asks by IRQ 2, and both want an end of interrupt", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  pulse(pic, 8);
  pulse(pic, 12);
  assertEquals([pic.acknowledge(), pic.inService], [0x28, 0x104]);
  driver.out(MASTER, EOI);
  // What case 10 of the shared cases forgets: the slave is in service still.
  assertEquals(pic.hasInterrupt, false);
  driver.out(SLAVE, EOI);
  assertEquals([pic.hasInterrupt, pic.acknowledge()], [true, 0x2c]);
});

Deno.test("special fully nested mode lets the slave's more urgent lines in", () => {
  for (const [icw4, expected] of [[0x01, false], [0x11, true]] as const) {
    const { pic, driver } = initialized(icw4);
    using _driver = driver;
    pulse(pic, 12);
    assertEquals(pic.acknowledge(), 0x2c);
    pulse(pic, 8);
    assertEquals(pic.hasInterrupt, expected);
  }
});

Deno.test("masks hold requests back, and keep them", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  driver.out(MASTER + 1, 0xfb);
  driver.out(SLAVE + 1, 0xff);
  pulse(pic, 4);
  pulse(pic, 9);
  assertEquals([pic.hasInterrupt, pic.requested], [false, 0x210]);
  driver.out(SLAVE + 1, 0xfd);
  assertEquals(pic.acknowledge(), 0x29);
  driver.outs([SLAVE, EOI], [MASTER, EOI], [MASTER + 1, 0]);
  assertEquals(pic.acknowledge(), 0x24);
});

Deno.test("special mask mode lets all others in, and its end of interrupt passes over masked ones", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  pulse(pic, 1);
  pic.acknowledge();
  pulse(pic, 6);
  assertEquals(pic.hasInterrupt, false);
  driver.outs([MASTER + 1, 0x02], [MASTER, 0x68]);
  assertEquals(pic.acknowledge(), 0x26);
  driver.out(MASTER, EOI);
  assertEquals(pic.inService, 0x02, "IRQ 1 is masked");
  driver.outs([MASTER, 0x48], [MASTER, EOI]);
  assertEquals(pic.inService, 0);
});

Deno.test("automatic end of interrupt, with rotation", () => {
  const { pic, driver } = initialized(0x03);
  using _driver = driver;
  driver.out(MASTER, 0x80);
  pulse(pic, 3);
  assertEquals([pic.acknowledge(), pic.inService], [0x23, 0]);
  // IRQ 3 is the last now.
  for (const irq of [3, 4]) pulse(pic, irq);
  assertEquals([pic.acknowledge(), pic.acknowledge()], [0x24, 0x23]);
  driver.out(MASTER, 0x00);
  pulse(pic, 5);
  pic.acknowledge();
  for (const irq of [4, 6]) pulse(pic, irq);
  assertEquals(pic.acknowledge(), 0x24);
});

Deno.test("rotation by command", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  driver.out(MASTER, 0xc0 | 5);
  for (const irq of [5, 6, 0]) pulse(pic, irq);
  assertEquals(pic.acknowledge(), 0x26);
  driver.out(MASTER, 0xa0);
  // 7 is the highest now, and 6 the lowest.
  assertEquals(pic.acknowledge(), 0x20);
  driver.out(MASTER, 0xe0 | 0);
  pulse(pic, 1);
  assertEquals([pic.inService, pic.acknowledge()], [0, 0x21]);
});

Deno.test("a poll takes the interrupt", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  driver.out(MASTER, 0x0c);
  assertEquals(driver.in(MASTER), 0);
  pulse(pic, 3);
  driver.out(MASTER, 0x0c);
  assertEquals([driver.in(MASTER), pic.inService], [0x83, 0x08]);
  assertEquals(driver.in(MASTER), 0, "the next read is one of IRR again");
});

Deno.test("lines that are level-triggered ask for as long as they are asserted", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  driver.out(0x4d0, 0xffff, 2);
  assertEquals(driver.in(0x4d0, 2), 0xdef8);
  pic.setLine(11, true);
  assertEquals(pic.acknowledge(), 0x2b);
  driver.outs([SLAVE, EOI], [MASTER, EOI]);
  assertEquals(pic.acknowledge(), 0x2b);
  pic.setLine(11, false);
  driver.outs([SLAVE, EOI], [MASTER, EOI]);
  assertEquals(pic.hasInterrupt, false);
  pulse(pic, 5);
  assertEquals(pic.hasInterrupt, false, "a level that has gone");
});

Deno.test("spurious interrupts are in service nowhere, but for the cascade", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  pic.spurious(7);
  assertEquals([pic.hasInterrupt, pic.acknowledge(), pic.inService], [true, 0x27, 0]);
  pic.spurious(15);
  assertEquals([pic.acknowledge(), pic.inService], [0x2f, 0x04]);
  assertEquals(pic.acknowledge(), 0x27, "nobody asks");
  assertThrows(() => pic.spurious(3 as 7), RangeError, "IRQ 3");
});

Deno.test("a controller without ICW4, and a single one", () => {
  const pic = new Pic();
  using driver = new PortDriver([pic]);
  driver.outs([MASTER, 0x12], [MASTER + 1, 0x40]);
  pulse(pic, 2);
  pulse(pic, 0);
  assertEquals(pic.acknowledge(), 0x40);
  driver.out(MASTER + 1, 0x55);
  assertEquals(driver.in(MASTER + 1), 0x55);
});

Deno.test("what was saved comes back, and a reset forgets all but the lines", () => {
  const { pic, driver } = initialized();
  using _driver = driver;
  driver.out(0x4d0, 0x20);
  pic.setLine(5, true);
  pulse(pic, 9);
  const state = structuredClone(pic.save());
  const all = () => [pic.requested, pic.inService, pic.masked, pic.hasInterrupt];
  const before = all();
  pic.reset();
  assertEquals([pic.hasInterrupt, pic.masked], [false, 0xffff]);
  pic.restore(state);
  assertEquals(all(), before);
  assertEquals(pic.acknowledge(), 0x29);
});

Deno.test("a kernel's handlers get their ticks from the timer, and a spurious one is none", () => {
  const pic = new Pic();
  using vm = boot(
    asm`
      %macro put 2
        mov al, %2
        out %1, al
      %endmacro
      mov word [0x20 * 4], tick
      mov word [0x20 * 4 + 2], 0
      mov word [0x27 * 4], seventh
      mov word [0x27 * 4 + 2], 0
      put 0x20, 0x11
      put 0x21, 0x20
      put 0x21, 4
      put 0x21, 1
      put 0x21, 0xfe
      put 0x43, 0x36
      put 0x40, 0x00
      put 0x40, 0x10
    again:
      sti
      hlt
      cli
      cmp byte [0x7000], 5
      jb again
      hlt
    tick:
      inc byte [0x7000]
      put 0x20, 0x20
      iret
    seventh:
      put 0x20, 0x0b            ; in service?
      in al, 0x20
      test al, 0x80
      jnz .real
      inc byte [0x7001]
    .real:
      iret
    `,
    { clock: new TestClock(), devices: [pic, new Pit()], memory: "64K" },
  );
  vm.ports.on(0x80, { write() {} });
  pic.spurious(7);
  vm.run();
  expect(vm).toBeHalted();
  expect(vm).toHaveMemory(0x7000, [5, 1]);
});
