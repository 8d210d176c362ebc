import { VirtioNet } from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { WRITE } from "./driver_queue.ts";
import { TRANSPORTS, VirtioDriver } from "./virtio_driver.ts";

const [RECEIVE, TRANSMIT] = [0, 1];
const DATA = 0x30_0000;

function frame(length: number, seed: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => index + seed);
}

for (const transport of TRANSPORTS) {
  Deno.test(`virtio-net by ${transport}: frames go out, and come in`, () => {
    const net = new VirtioNet();
    using driver = new VirtioDriver(net, transport);
    const header = driver.isLegacy ? 10 : 12;
    driver.start(1n << 5n);
    const [input, output] = driver.queues;
    driver.vm.memory.write(DATA + header, frame(60, 7));
    output.add([{ address: DATA, length: header }, { address: DATA + header, length: 60 }]);
    driver.notify(TRANSMIT);
    assertEquals([net.received, output.used(0)], [[frame(60, 7)], [0, 0]]);
    driver.interrupts;
    // A frame waits for a buffer, and a buffer for a frame.
    net.send(frame(64, 1));
    input.add([
      { address: DATA, length: header, flags: WRITE },
      { address: DATA + 0x100, length: 1514, flags: WRITE },
    ]);
    assertEquals(driver.asserted.size, 0);
    driver.notify(RECEIVE);
    assertEquals([input.used(0), driver.asserted.size], [[0, header + 64], 1]);
    assertEquals(driver.vm.memory.read(DATA + 0x100, 64), frame(64, 1));
    const buffers = driver.isLegacy ? [] : [1, 0];
    assertEquals([...driver.vm.memory.read(DATA, header)], [...Array(10).fill(0), ...buffers]);
    driver.interrupts;
    input.add([{ address: DATA, length: 1526, flags: WRITE }], 4);
    net.send(frame(60, 2));
    assertEquals([input.used(1), driver.interrupts], [[4, header + 60], 1]);
  });

  Deno.test(`virtio-net by ${transport}: its address, and its link`, () => {
    const net = new VirtioNet({ mac: "02:00:00:00:ab:cd" });
    using driver = new VirtioDriver(net, transport);
    assertEquals(driver.features & 0xffff_ffffn, 0x3001_0020n);
    assertEquals([driver.configuration(0, 4), driver.configuration(4, 2)], [2, 0xcdab]);
    assertEquals(driver.configuration(6, 2), 1);
    net.linkUp = false;
    // Nobody is there to be told.
    assertEquals([driver.configuration(6, 2), driver.interrupts], [0, 0]);
    driver.start(1n << 16n);
    net.linkUp = true;
    assertEquals([driver.configuration(6, 2), driver.interrupts], [1, 2]);
    net.linkUp = true;
    assertEquals(driver.interrupts, 0);
  });

  Deno.test(`virtio-net by ${transport}: frames that cannot be`, () => {
    const net = new VirtioNet();
    using driver = new VirtioDriver(net, transport);
    const fails = (message: string, queue: number, length: number) => {
      driver.queues.forEach((each) => each.index = 0);
      driver.start();
      driver.queues[queue].add([{ address: DATA, length, flags: queue === RECEIVE ? WRITE : 0 }]);
      driver.notify(queue);
      assertStringIncludes(net.failure ?? "no failure", message);
    };
    const header = driver.isLegacy ? 10 : 12;
    fails("1 to 65550 bytes, and not 0", TRANSMIT, header);
    fails("and not -", TRANSMIT, 4);
    fails("and not 65551", TRANSMIT, header + 65551);
    fails("and not 4294", TRANSMIT, 0xffff_ffff);
    net.send(frame(60, 0));
    fails("does not hold a frame of 60", RECEIVE, header + 59);
  });
}

Deno.test("a test that answers each frame", () => {
  const net: VirtioNet = new VirtioNet({ onReceive: (frame) => net.send(frame.toReversed()) });
  using driver = new VirtioDriver(net, "modern PCI");
  driver.start();
  const [input, output] = driver.queues;
  input.add([{ address: DATA, length: 1526, flags: WRITE }]);
  driver.vm.memory.write(DATA + 0x1000 + 12, [1, 2, 3]);
  output.add([{ address: DATA + 0x1000, length: 15 }]);
  driver.notify(TRANSMIT);
  assertEquals([...driver.vm.memory.read(DATA + 12, 3)], [3, 2, 1]);
  assertEquals([input.usedIndex, output.usedIndex], [1, 1]);
});

Deno.test("a card keeps 16 MiB of frames", () => {
  const net = new VirtioNet();
  using driver = new VirtioDriver(net, "MMIO 2");
  driver.start();
  const [, output] = driver.queues;
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < 150; index++) {
      output.add([{ address: DATA, length: 12 + 65536 }], index);
    }
    driver.notify(TRANSMIT);
  }
  assertEquals([net.received.length, net.dropped, output.usedIndex], [256, 44, 300]);
});

Deno.test("a card's state", () => {
  const net = new VirtioNet();
  using driver = new VirtioDriver(net, "MMIO 1");
  driver.start();
  net.send(frame(60, 3));
  net.linkUp = false;
  const state = structuredClone(driver.board.save!());
  driver.board.reset!();
  net.linkUp = true;
  driver.board.restore!(state);
  assertEquals([net.linkUp, driver.status], [false, 7]);
  driver.queues[0].add([{ address: DATA, length: 1526, flags: WRITE }]);
  driver.notify(RECEIVE);
  assertEquals(driver.queues[0].used(0), [0, 70]);
});

Deno.test("addresses and frames that cannot be are refused", () => {
  for (
    const mac of [
      "",
      "02:00:00:00:ab",
      "02:00:00:00:ab:cd:ef",
      "02-00-00-00-ab-cd",
      "02:00:00:00:ab:g0",
    ]
  ) {
    assertThrows(() => new VirtioNet({ mac }), RangeError, "as a MAC address");
  }
  const net = new VirtioNet();
  assertThrows(() => net.send(new Uint8Array()), RangeError, "of 0 bytes");
  assertThrows(() => net.send(new Uint8Array(65551)), RangeError, "of 65551 bytes");
});
