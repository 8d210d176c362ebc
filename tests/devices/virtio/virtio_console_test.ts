import { asm, boot, expect } from "@vmexit/vmexit";
import { VirtioConsole, VirtioMmio } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import { WRITE } from "./driver_queue.ts";
import { TRANSPORTS, VirtioDriver } from "./virtio_driver.ts";

const [RECEIVE, TRANSMIT] = [0, 1];
const DATA = 0x30_0000;

for (const transport of TRANSPORTS) {
  Deno.test(`virtio-console by ${transport}: text goes out, and comes in`, () => {
    const terminal = new VirtioConsole({ columns: 132, rows: 43 });
    using driver = new VirtioDriver(terminal, transport);
    // What was sent before the driver is there waits for it.
    terminal.send("ab");
    driver.start();
    const [input, output] = driver.queues;
    driver.vm.memory.write(DATA, "hello, wörld");
    output.add([{ address: DATA, length: 5 }, { address: DATA + 5, length: 8 }]);
    driver.notify(TRANSMIT);
    assertEquals([terminal.text, output.used(0)], ["hello, wörld", [0, 0]]);
    assertEquals([driver.interrupts, driver.asserted.size], [1, 0]);

    input.add([{ address: DATA, length: 1, flags: WRITE }], 0);
    input.add([{ address: DATA + 8, length: 8, flags: WRITE }], 1);
    driver.notify(RECEIVE);
    assertEquals([input.usedIndex, input.used(0), input.used(1)], [2, [0, 1], [1, 1]]);
    assertEquals([driver.vm.memory.u8(DATA), driver.vm.memory.u8(DATA + 8)], [0x61, 0x62]);
    driver.interrupts;
    // And what is sent later comes when it is sent, where there is a buffer.
    input.add([{ address: DATA, length: 8, flags: WRITE }], 2);
    terminal.send(Uint8Array.of(1, 2, 3));
    assertEquals([input.used(2), driver.asserted.size], [[2, 3], 1]);
    terminal.send("more");
    assertEquals(input.usedIndex, 3);
  });

  Deno.test(`virtio-console by ${transport}: its configuration, and emergency writes`, () => {
    const terminal = new VirtioConsole({ columns: 132, rows: 43 });
    using driver = new VirtioDriver(terminal, transport);
    assertEquals(driver.features & 0xffff_ffffn, 0x3000_0005n);
    assertEquals([driver.configuration(0, 2), driver.configuration(2, 2)], [132, 43]);
    // Before anything was negotiated (5.3.4).
    driver.setConfiguration(8, 0x1234_5621);
    driver.setConfiguration(0, 0);
    assertEquals([terminal.text, driver.configuration(0, 2)], ["!", 132]);
  });
}

Deno.test("a console keeps a MiB, and a guest that says 4 GiB does not hold it up", () => {
  const terminal = new VirtioConsole();
  using driver = new VirtioDriver(terminal, "MMIO 2");
  driver.start();
  const [, output] = driver.queues;
  driver.vm.memory.setU8(DATA, 7);
  output.add([{ address: 0, length: 0x20_0000 }, { address: 0, length: 0xf000_0000 }]);
  driver.notify(TRANSMIT);
  assertEquals([terminal.bytes.length, terminal.dropped], [1 << 20, 0xf010_0000]);
  assertEquals(terminal.failure, undefined);
});

Deno.test("a console's state", () => {
  const terminal = new VirtioConsole();
  using driver = new VirtioDriver(terminal, "MMIO 2");
  driver.start();
  driver.vm.memory.write(DATA, "ab");
  driver.queues[1].add([{ address: DATA, length: 2 }]);
  driver.notify(TRANSMIT);
  terminal.send("in");
  const state = structuredClone(driver.board.save!());
  driver.queues[0].add([{ address: DATA, length: 4, flags: WRITE }]);
  driver.notify(RECEIVE);
  driver.board.reset!();
  assertEquals(driver.status, 0);
  driver.board.restore!(state);
  assertEquals([terminal.text, driver.status], ["ab", 0xf]);
  driver.notify(RECEIVE);
  assertEquals(driver.queues[0].used(0), [0, 2]);
});

Deno.test("a guest greets by virtio-console", () => {
  const terminal = new VirtioConsole();
  using vm = boot(
    asm`
      bits 32
      mov esi, 0xd0000000
      mov dword [esi + 0x70], 0
      mov dword [esi + 0x70], 3
      mov dword [esi + 0x24], 1
      mov dword [esi + 0x20], 1
      mov dword [esi + 0x70], 0xb
      mov dword [esi + 0x30], 1
      mov dword [esi + 0x38], 2
      mov dword [esi + 0x80], 0x20000
      mov dword [esi + 0x90], 0x21000
      mov dword [esi + 0xa0], 0x22000
      mov dword [esi + 0x44], 1
      mov dword [esi + 0x70], 0xf
      mov dword [0x20000], text
      mov dword [0x20008], 6
      inc word [0x21002]
      mov dword [esi + 0x50], 1
      hlt
    text: db "Hello", 10
    `,
    { devices: [new VirtioMmio(terminal)] },
  );
  vm.run();
  expect(vm).toBeHalted();
  assertEquals(terminal.text, "Hello\n");
});
