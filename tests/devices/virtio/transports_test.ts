import {
  Disk,
  VirtioBlk,
  VirtioConsole,
  VirtioDevice,
  VirtioMmio,
  VirtioNet,
  VirtioPci,
  type Virtqueue,
} from "@vmexit/vmexit/devices";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  bootAccesses,
  in16,
  in32,
  out16,
  out8,
  perform,
  read16,
  read32,
  read8,
  write16,
  write32,
  write8,
} from "../accesses.ts";
import { PciMachine, read, write } from "../pci/toy.ts";
import { DriverQueue, INDIRECT, WRITE } from "./driver_queue.ts";
import { type Transport, VirtioDriver } from "./virtio_driver.ts";

const MODERN = 0xe000_0000;
const PORTS = 0xc000;
const DATA = 0x30_0000;

const disk = () => new VirtioBlk(new Disk(4096));

for (const transport of ["modern PCI", "MMIO 2"] satisfies Transport[]) {
  Deno.test(`${transport}: features are agreed on, or FEATURES_OK does not stay`, () => {
    using driver = new VirtioDriver(disk(), transport);
    const agree = (features: bigint) => {
      driver.status = 0;
      driver.status = 3;
      driver.accept(features);
      driver.status = 0xb;
      return driver.status;
    };
    assertEquals(agree(1n << 32n), 0xb);
    assertEquals(agree(0n), 3); // no VIRTIO_F_VERSION_1
    assertEquals(agree(1n << 32n | 1n << 31n), 3); // not offered
    assertEquals(agree(1n << 63n), 3);
    // Once agreed on they stay.
    agree(1n << 32n | 1n << 9n);
    driver.accept(1n << 32n);
    assertEquals(driver.device.has(1n << 9n), true);
  });

  Deno.test(`${transport}: nothing is done before DRIVER_OK, and then all that waits`, () => {
    const terminal = new VirtioConsole();
    using driver = new VirtioDriver(terminal, transport);
    driver.status = 3;
    driver.accept(1n << 32n);
    driver.status = 0xb;
    driver.queues.forEach((queue, index) => driver.setUp(index, queue));
    driver.queues[1].add([{ address: DATA, length: 3 }]);
    driver.notify(1);
    assertEquals(terminal.bytes.length, 0);
    driver.status = 0xf;
    assertEquals(terminal.bytes.length, 3);
  });

  Deno.test(`${transport}: a queue of another size, or of one that there is not`, () => {
    const terminal = new VirtioConsole();
    using driver = new VirtioDriver(terminal, transport);
    const start = (size: number) => {
      driver.status = 0;
      driver.status = 3;
      driver.accept(1n << 32n);
      driver.status = 0xb;
      const queue = new DriverQueue(driver.vm.memory, 0x24_0000, size);
      driver.setUp(1, queue);
      driver.status = 0xf;
      return queue;
    };
    const queue = start(4);
    for (let index = 0; index < 6; index++) {
      queue.add([{ address: DATA, length: 1 }], index % 4);
      driver.notify(1);
    }
    assertEquals([terminal.bytes.length, queue.usedIndex, queue.used(5)], [6, 6, [1, 0]]);
    start(128);
    assertStringIncludes(terminal.failure ?? "no failure", "up to 64 descriptors, and not 128");
    start(3);
    assertStringIncludes(terminal.failure ?? "no failure", "power of two");
    assertEquals(driver.status, 0x4f);
  });

  Deno.test(`${transport}: indirect tables and event indices, where they are agreed on`, () => {
    const terminal = new VirtioConsole();
    using driver = new VirtioDriver(terminal, transport);
    driver.start(1n << 28n | 1n << 29n);
    const [, queue] = driver.queues;
    queue.describe(0, { address: DATA, length: 7 }, 0x31_0000);
    queue.usedEvent = 1;
    queue.add([{ address: 0x31_0000, length: 16, flags: INDIRECT }]);
    driver.notify(1);
    assertEquals([terminal.bytes.length, driver.interrupts, queue.availableEvent], [7, 0, 1]);
    queue.add([{ address: DATA, length: 1 }]);
    driver.notify(1);
    assertEquals([driver.interrupts, terminal.failure], [1, undefined]);
  });
}

Deno.test("the IDs of legacy, transitional and modern functions", () => {
  const ids = (device: VirtioDevice, version?: "legacy" | "transitional" | "modern") => {
    using pci = new PciMachine([new VirtioPci(device, { version })]);
    return [pci.last(...read(1, 0)), pci.last(...read(1, 8)), pci.last(...read(1, 0x2c))];
  };
  assertEquals(ids(disk(), "legacy"), [0x1001_1af4, 0x0180_0000, 0x0002_1af4]);
  assertEquals(ids(disk()), [0x1001_1af4, 0x0180_0000, 0x0002_1af4]);
  assertEquals(ids(disk(), "modern"), [0x1042_1af4, 0x0180_0001, 0x1042_1af4]);
  assertEquals(ids(new VirtioNet(), "legacy"), [0x1000_1af4, 0x0200_0000, 0x0001_1af4]);
  assertEquals(ids(new VirtioConsole(), "modern"), [0x1043_1af4, 0x0780_0001, 0x1043_1af4]);
});

Deno.test("the common configuration, by accesses of other widths", () => {
  using pci = new PciMachine([new VirtioPci(new VirtioNet(), { version: "modern" })]);
  assertEquals(pci.last(read16(MODERN + 18)) & 0xffff, 2);
  pci.run(write16(MODERN + 22, 1));
  // Both halves at once read what each would; to write is of no effect.
  assertEquals(pci.last(read32(MODERN + 22)), 1 + 256 * 65536);
  pci.run(write32(MODERN + 22, 0), write8(MODERN + 24, 4), write16(MODERN + 18, 9));
  assertEquals(pci.last(read32(MODERN + 22)), 1 + 256 * 65536);
  assertEquals(pci.last(read16(MODERN + 30)) & 0xffff, 1);
  assertEquals(pci.last(read32(MODERN + 56)), 0);
  assertEquals(pci.last(write32(MODERN, 2), read32(MODERN + 4)), 0);
  // A queue that there is not.
  assertEquals(pci.last(write16(MODERN + 22, 2), read16(MODERN + 24)) & 0xffff, 0);
  pci.run(write16(MODERN + 28, 1), write32(MODERN + 32, 0x1000));
  assertEquals(pci.last(read32(MODERN + 32)), 0);
});

Deno.test("MSI-X: a vector for the configuration, and one for each queue", () => {
  const net = new VirtioNet();
  using pci = new PciMachine([new VirtioPci(net)]);
  // The capability of MSI-X is the last one.
  let capability = pci.last(...read(1, 0x34)) & 0xff;
  for (;;) {
    const [id, next] = [pci.last(...read(1, capability)) & 0xff, 8];
    if (id === 0x11) break;
    capability = pci.last(...read(1, capability)) >>> next & 0xff;
  }
  const table = pci.last(...read(1, 0x14));
  const vector = (index: number, address: number) => [
    write32(table + index * 16, address),
    write32(table + index * 16 + 8, 0x40 + index),
    write32(table + index * 16 + 12, 0),
  ];
  pci.run(
    ...write(1, 4, 7),
    ...vector(0, 0x8000),
    ...vector(2, 0x8004),
    ...write(1, capability, 0x8000_0000),
    write8(MODERN + 20, 3),
    write32(MODERN + 8, 1),
    write32(MODERN + 12, 1),
    write8(MODERN + 20, 0xb),
    write16(MODERN + 16, 0),
    write16(MODERN + 22, 1),
    write16(MODERN + 26, 2),
  );
  const layout = new DriverQueue(pci.vm.memory, 0x20_0000, 256);
  pci.run(
    write32(MODERN + 32, Number(layout.layout.descriptors)),
    write32(MODERN + 40, Number(layout.layout.available)),
    write32(MODERN + 48, Number(layout.layout.used)),
    write16(MODERN + 28, 1),
    write8(MODERN + 20, 0xf),
  );
  net.linkUp = false;
  assertEquals([pci.vm.memory.u32(0x8000), pci.vm.memory.u32(0x8004)], [0x40, 0]);
  layout.add([{ address: DATA, length: 72 }]);
  pci.run(write16(MODERN + 0x3004, 1));
  assertEquals([net.failure, pci.vm.memory.u32(0x8004)], [undefined, 0x42]);
  // A vector that there is not is refused, and reads so.
  assertEquals(pci.last(write16(MODERN + 26, 3), read16(MODERN + 26)) & 0xffff, 0xffff);
  layout.add([{ address: DATA, length: 72 }]);
  pci.vm.memory.setU32(0x8004, 0);
  pci.run(write16(MODERN + 0x3004, 1));
  assertEquals([layout.usedIndex, pci.vm.memory.u32(0x8004)], [2, 0]);
  // With MSI-X the legacy interface has two more registers, and its configuration behind them.
  assertEquals(pci.last(out16(PORTS + 14, 0), out16(PORTS + 22, 1), in16(PORTS + 22)) & 0xffff, 1);
  assertEquals(pci.last(out16(PORTS + 20, 99), in16(PORTS + 20)) & 0xffff, 0xffff);
  assertEquals(pci.last(in32(PORTS + 24)), 0x1200_5452);
  assertEquals(pci.last(...write(1, capability, 0), in32(PORTS + 20)), 0x1200_5452);
});

Deno.test("the window in configuration space reaches the structures", () => {
  using pci = new PciMachine([new VirtioPci(disk(), { version: "modern" })]);
  let window = pci.last(...read(1, 0x34)) & 0xff;
  while (pci.last(...read(1, window)) >>> 24 !== 5) {
    window = pci.last(...read(1, window)) >>> 8 & 0xff;
  }
  const point = (bar: number, offset: number, length: number) => [
    ...write(1, window + 4, bar),
    ...write(1, window + 8, offset),
    ...write(1, window + 12, length),
  ];
  const data = window + 16;
  // The size of the disk, in its configuration.
  assertEquals(pci.last(...point(4, 0x2000, 4), ...read(1, data)), 8);
  // The device status.
  const select = read(1, data)[0];
  assertEquals(pci.last(...point(4, 20, 1), select, out8(0xcfc, 3), read8(MODERN + 20)) & 0xff, 3);
  // It leads nowhere: another width, behind the end, another BAR, not aligned.
  for (const at of [[4, 0x2000, 2], [4, 0x4000, 4], [0, 0, 4], [4, 0x2002, 4], [4, 0x2000, 0]]) {
    const [bar, offset, length] = at;
    pci.run(...point(bar, offset, length), ...write(1, data, 0x1234));
    assertEquals(pci.last(...read(1, data)), 0x1234);
  }
});

Deno.test("MMIO registers take accesses of 32 bits", () => {
  using vm = bootAccesses({ devices: [new VirtioMmio(disk(), { address: 0xd001_0000, irq: 9 })] });
  const at = (offset: number) => 0xd001_0000 + offset;
  const last = (...accesses: Parameters<typeof perform>[1]) => perform(vm, accesses).at(-1)!;
  assertEquals(perform(vm, [0, 4, 8, 12].map((offset) => read32(at(offset)))), [
    0x7472_6976,
    2,
    2,
    0x554d_4551,
  ]);
  assertEquals([last(read8(at(0))) & 0xff, last(read16(at(4))) & 0xffff], [0, 0]);
  assertEquals(last(write8(at(0x70), 3), write16(at(0x70), 3), read32(at(0x70))), 0);
  assertEquals(last(read32(at(0xb0))), 0xffff_ffff);
  assertEquals(last(read16(at(0x100))) & 0xffff, 8);
  // The device status has 8 bits.
  assertEquals(last(write32(at(0x70), 0xffff_ff03), read32(at(0x70))), 3);
  // Write-only registers, and those of version 1.
  assertEquals(last(write32(at(0x30), 1), read32(at(0x30))), 0);
  assertEquals(last(write32(at(0x28), 4096), write32(at(0x40), 1), read32(at(0x40))), 0);
});

Deno.test("a device is behind one transport, and a type without an ID is none of a legacy device", () => {
  const device = disk();
  using _vm = bootAccesses({ devices: [new VirtioMmio(device)] });
  assertThrows(() => new VirtioPci(device), TypeError, "it has a transport");
  class Entropy extends VirtioDevice {
    readonly name = "virtio-rng";
    readonly deviceType = 4;
    readonly classCode = 0xff_0000;
    protected readonly deviceFeatures = 0n;
    readonly configuration = new Uint8Array();
    constructor() {
      super([8]);
    }
    protected process(_queue: number, ring: Virtqueue) {
      for (let buffer = ring.take(); buffer !== undefined; buffer = ring.take()) {
        buffer.write(0, Uint8Array.of(4));
        ring.give(buffer, 1);
      }
    }
  }
  assertThrows(() => new VirtioPci(new Entropy()), TypeError, "no legacy interface");
  // A device of one's own has all transports.
  for (const transport of ["modern PCI", "MMIO 1", "MMIO 2"] satisfies Transport[]) {
    using driver = new VirtioDriver(new Entropy(), transport);
    driver.start();
    driver.queues[0].add([{ address: DATA, length: 1, flags: WRITE }]);
    driver.notify(0);
    assertEquals([driver.vm.memory.u8(DATA), driver.queues[0].used(0)], [4, [0, 1]]);
  }
});
