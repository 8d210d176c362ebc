import { asm, boot, expect } from "@vmexit/vmexit";
import { I8042, type KeyCode, Pic, TestClock } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import { PortDriver } from "./port_driver.ts";

const DATA = 0x60;
const COMMAND = 0x64;

const INTERVAL = 1_000_000;

function driven(): { i8042: I8042; driver: PortDriver; pic: Pic } {
  const i8042 = new I8042();
  const pic = new Pic({ vectors: [0x20, 0x28] });
  return { i8042, pic, driver: new PortDriver([i8042, pic]) };
}

/** What there is to be read now. */
function drain(driver: PortDriver): number[] {
  const bytes: number[] = [];
  while ((driver.in(COMMAND) & 1) !== 0) bytes.push(driver.in(DATA));
  return bytes;
}

/** What there is to be read while time passes. */
function drainSlowly(driver: PortDriver, events: number): number[] {
  return Array.from({ length: events }, () => {
    driver.clock.advance(INTERVAL);
    return drain(driver);
  }).flat();
}

/** Sends a command to the controller, and reads its answer. */
function ask(driver: PortDriver, command: number): number {
  driver.out(COMMAND, command);
  return driver.in(DATA);
}

/** Sends bytes to the keyboard, and reads its answers. */
function tell(driver: PortDriver, ...bytes: number[]): number[] {
  for (const byte of bytes) driver.out(DATA, byte);
  return drain(driver);
}

Deno.test("the controller's tests, its command byte and its ports", () => {
  const { driver } = driven();
  using _driver = driver;
  assertEquals(driver.in(COMMAND), 0x14);
  driver.out(COMMAND, 0xaa);
  assertEquals([driver.in(COMMAND), driver.in(DATA), driver.in(COMMAND)], [0x1d, 0x55, 0x1c]);
  assertEquals([ask(driver, 0xab), ask(driver, 0xa9)], [0, 0]);
  assertEquals(ask(driver, 0x20), 0x65);
  driver.outs([COMMAND, 0x60], [DATA, 0x47]);
  assertEquals([ask(driver, 0x20), driver.in(COMMAND) & 0x08], [0x47, 0x08]);
  driver.outs([COMMAND, 0xa7], [COMMAND, 0xad]);
  assertEquals(ask(driver, 0x20), 0x77);
  driver.outs([COMMAND, 0xa8], [COMMAND, 0xae]);
  assertEquals(ask(driver, 0x20), 0x47);
  driver.outs([COMMAND, 0x71], [DATA, 0x99]);
  assertEquals([ask(driver, 0x31), ask(driver, 0xc0), ask(driver, 0xe0)], [0x99, 0x80, 0]);
  driver.outs([COMMAND, 0xd2], [DATA, 0x77]);
  assertEquals(drain(driver), [0x77]);
  driver.outs([COMMAND, 0xd3], [DATA, 0x78]);
  assertEquals([driver.in(COMMAND) & 0x21, driver.in(DATA)], [0x21, 0x78]);
  // A command that there is not.
  driver.outs([COMMAND, 0xb5]);
  assertEquals(driver.in(COMMAND) & 1, 0);
});

Deno.test("keys arrive one by one, translated to set 1", () => {
  const { i8042, driver } = driven();
  using _driver = driver;
  i8042.keyboard.type("aB\n");
  assertEquals([drain(driver), i8042.keyboard.waiting], [[], 8]);
  assertEquals(drainSlowly(driver, 8), [0x1e, 0x9e, 0x2a, 0x30, 0xb0, 0xaa, 0x1c, 0x9c]);
  assertEquals(i8042.keyboard.waiting, 0);
});

const KEYS: readonly (readonly [key: KeyCode, set1: number[], set2: number[]])[] = [
  ["ArrowUp", [0xe0, 0x48, 0xe0, 0xc8], [0xe0, 0x75, 0xe0, 0xf0, 0x75]],
  ["F7", [0x41, 0xc1], [0x83, 0xf0, 0x83]],
  ["ControlRight", [0xe0, 0x1d, 0xe0, 0x9d], [0xe0, 0x14, 0xe0, 0xf0, 0x14]],
  ["Pause", [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], [
    0xe1,
    0x14,
    0x77,
    0xe1,
    0xf0,
    0x14,
    0xf0,
    0x77,
  ]],
  ["PrintScreen", [0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa], [
    0xe0,
    0x12,
    0xe0,
    0x7c,
    0xe0,
    0xf0,
    0x7c,
    0xe0,
    0xf0,
    0x12,
  ]],
];

for (const [key, set1, set2] of KEYS) {
  Deno.test(`${key} in set 1, by the controller and by the keyboard, and in set 2`, () => {
    const { i8042, driver } = driven();
    using _driver = driver;
    const stroke = () => {
      i8042.keyboard.press(key);
      i8042.keyboard.release(key);
      return drainSlowly(driver, 2);
    };
    assertEquals(stroke(), set1);
    driver.outs([COMMAND, 0x60], [DATA, 0x05]);
    assertEquals(stroke(), set2);
    assertEquals(tell(driver, 0xf0, 0x01), [0xfa, 0xfa]);
    assertEquals(stroke(), set1);
  });
}

Deno.test("every character of a US keyboard can be typed, and no other", () => {
  const { i8042, driver } = driven();
  using _driver = driver;
  const printable = Array.from({ length: 0x5f }, (_, index) => String.fromCharCode(0x20 + index));
  i8042.keyboard.type(printable.join("") + "\t\b\x1b\n");
  const events = i8042.keyboard.waiting;
  assertThrows(() => i8042.keyboard.type("aü"), RangeError, 'Cannot type "ü"');
  assertThrows(() => i8042.keyboard.press("Key1" as KeyCode), RangeError, "Cannot press Key1");
  assertEquals(i8042.keyboard.waiting, events);
});

Deno.test("a keyboard's commands", () => {
  const { i8042, driver } = driven();
  using _driver = driver;
  assertEquals(tell(driver, 0xff), [0xfa, 0xaa]);
  assertEquals(tell(driver, 0xf2), [0xfa, 0xab, 0x41], "the second byte is translated");
  assertEquals(tell(driver, 0xee), [0xee]);
  assertEquals(tell(driver, 0xed, 0x06), [0xfa, 0xfa]);
  assertEquals(i8042.keyboard.leds, { scrollLock: false, numLock: true, capsLock: true });
  assertEquals(tell(driver, 0xf3, 0x20), [0xfa, 0xfa]);
  assertEquals(tell(driver, 0xf0, 0x00), [0xfa, 0xfa, 0x41], "set 2, translated");
  assertEquals(tell(driver, 0xf0, 0x03), [0xfa, 0xfe], "set 3 is left out");
  assertEquals(tell(driver, 0x12), [0xfe]);
  assertEquals(tell(driver, 0xfe), [0xfe]);
  assertEquals(tell(driver, 0xf5), [0xfa]);
  i8042.keyboard.type("x");
  assertEquals(drainSlowly(driver, 3), []);
  assertEquals(tell(driver, 0xf4), [0xfa]);
  assertEquals(drainSlowly(driver, 2), [0x2d, 0xad]);
});

Deno.test("interrupts of keyboard and mouse, where they are enabled", () => {
  const { i8042, driver, pic } = driven();
  using _driver = driver;
  i8042.keyboard.type("a");
  driver.clock.advance(INTERVAL);
  driver.in(COMMAND);
  assertEquals(pic.acknowledge(), 0x21);
  driver.out(0x20, 0x20);
  assertEquals(driver.in(DATA), 0x1e);
  driver.clock.advance(INTERVAL);
  driver.in(COMMAND);
  assertEquals([pic.acknowledge(), driver.in(DATA)], [0x21, 0x9e]);
  driver.out(0x20, 0x20);
  driver.outs([COMMAND, 0x60], [DATA, 0x46], [COMMAND, 0xd4], [DATA, 0xf4]);
  assertEquals([pic.acknowledge(), driver.in(COMMAND) & 0x21, driver.in(DATA)], [
    0x2c,
    0x21,
    0xfa,
  ]);
  i8042.keyboard.type("a");
  driver.clock.advance(INTERVAL);
  driver.in(COMMAND);
  assertEquals(pic.requested, 0, "that of the keyboard is off");
});

Deno.test("a mouse's commands and packets", () => {
  const { i8042, driver } = driven();
  using _driver = driver;
  const mouse = (...bytes: number[]) =>
    bytes.flatMap((byte) => {
      driver.outs([COMMAND, 0xd4], [DATA, byte]);
      return drain(driver);
    });
  assertEquals(mouse(0xff), [0xfa, 0xaa, 0x00]);
  assertEquals(mouse(0xf2), [0xfa, 0x00]);
  assertEquals(mouse(0xe8, 3, 0xf3, 40, 0xe7, 0xe9), [
    ...[0xfa, 0xfa, 0xfa, 0xfa, 0xfa],
    ...[0xfa, 0x10, 3, 40],
  ]);
  i8042.mouse.move(5, -3);
  assertEquals(drainSlowly(driver, 2), [], "it is not enabled");
  assertEquals(mouse(0xf4), [0xfa]);
  assertEquals(drainSlowly(driver, 1), [0x28, 5, 0xfd]);
  i8042.mouse.press("right");
  i8042.mouse.move(300, 0);
  i8042.mouse.release("right");
  assertEquals(drainSlowly(driver, 4), [
    ...[0x0a, 0, 0],
    ...[0x0a, 255, 0],
    ...[0x0a, 45, 0],
    ...[0x08, 0, 0],
  ]);
  assertEquals(mouse(0xf0, 0xeb), [0xfa, 0xfa, 0x08, 0, 0]);
  assertEquals(mouse(0xee), [0xfe]);
  i8042.mouse.press("left");
  assertEquals(drainSlowly(driver, 1), [], "in remote mode it is asked");
  assertEquals(mouse(0xeb, 0xf6, 0xe9), [0xfa, 0x09, 0, 0, 0xfa, 0xfa, 0x01, 2, 100]);
});

Deno.test("a flood of commands fills no memory, and what was saved comes back", () => {
  const { i8042, driver } = driven();
  using _driver = driver;
  for (let index = 0; index < 100; index++) driver.out(DATA, 0xf2);
  const bytes = drain(driver);
  assertEquals([bytes.length <= 17, bytes.slice(0, 3)], [true, [0xfa, 0xab, 0x41]]);
  driver.outs([DATA, 0xed], [DATA, 0x02]);
  i8042.keyboard.type("ab");
  const state = structuredClone(i8042.save());
  i8042.reset();
  assertEquals([drain(driver), i8042.keyboard.leds.numLock], [[], false]);
  i8042.restore(state);
  assertEquals([drain(driver), i8042.keyboard.leds.numLock], [[0xfa, 0xfa], true]);
  assertEquals(drainSlowly(driver, 4), [0x1e, 0x9e, 0x30, 0xb0]);
});

/** Reads a line by interrupts: scan codes to 0x7000, until Enter is released. */
const READ_LINE = asm`
  %macro put 2
    mov al, %2
    out %1, al
  %endmacro
  mov word [0x21 * 4], key
  mov word [0x21 * 4 + 2], 0
  put 0x20, 0x11
  put 0x21, 0x20
  put 0x21, 4
  put 0x21, 1
  put 0x21, 0xfd
  mov di, 0x7000
again:
  sti
  hlt
  cli
  cmp byte [di - 1], 0x9c
  jne again
  hlt
key:
  in al, 0x60
  stosb
  put 0x20, 0x20
  iret
`;

Deno.test("a guest in HLT reads what is typed before it runs, with either kind of controller", () => {
  for (const irqchip of [false, true]) {
    const i8042 = new I8042();
    using vm = boot(READ_LINE, {
      irqchip,
      clock: new TestClock(),
      devices: irqchip ? [i8042] : [i8042, new Pic()],
    });
    i8042.keyboard.type("dir\n");
    vm.run();
    expect(vm).toHaveMemory(0x7000, [0x20, 0xa0, 0x17, 0x97, 0x13, 0x93, 0x1c, 0x9c]);
  }
});
