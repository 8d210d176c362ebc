import { asm, boot, expect } from "@vmexit/vmexit";
import { PciBus } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import { read32, write32 } from "../accesses.ts";
import { BAR, COMMAND, lines, PciMachine, read, Toy, write } from "./toy.ts";

/** Where capabilities begin, without others. */
const CAPABILITY = 0x40;

Deno.test("MSI: messages by vector, masked and pending", () => {
  const toy = new Toy({ msi: 4, interruptPin: "A" });
  const controller = lines();
  using pci = new PciMachine([toy], {}, [controller]);
  assertEquals(pci.last(...read(1, COMMAND)), 0x0010_0003);
  assertEquals(pci.last(...read(1, 0x34)), CAPABILITY);
  assertEquals(pci.last(...read(1, CAPABILITY)), 0x0184_0005);
  // A message is a write: to memory, where the guest has said so.
  pci.run(
    ...write(1, CAPABILITY + 4, 0x8000),
    ...write(1, CAPABILITY + 12, 0x1234_4321),
    ...write(1, CAPABILITY, 0x0021_0000),
  );
  const message = () => {
    const value = pci.vm.memory.u32(0x8000);
    pci.vm.memory.setU32(0x8000, 0);
    return value;
  };
  toy.send(1);
  assertEquals(message(), 0); // no bus master
  pci.run(...write(1, COMMAND, 4));
  toy.send(3);
  assertEquals(message(), 0x4323);
  toy.pull(true);
  assertEquals(controller.asserted.size, 0);
  pci.run(...write(1, CAPABILITY + 16, 0x4));
  toy.send(2);
  assertEquals(message(), 0);
  assertEquals(pci.last(...read(1, CAPABILITY + 20)), 4);
  pci.run(...write(1, CAPABILITY + 16, 0));
  assertEquals(message(), 0x4322);
  assertEquals(pci.last(...read(1, CAPABILITY + 20)), 0);
  // One message alone is enabled: all vectors share it.
  pci.run(...write(1, CAPABILITY, 0x0001_0000));
  toy.send(3);
  assertEquals(message(), 0x4321);
  pci.run(...write(1, CAPABILITY, 0));
  assertEquals([...controller.asserted], [10]);
});

Deno.test("MSI-X: a table of messages, masked and pending", () => {
  const toy = new Toy({ msix: { vectors: 3, bar: 1 } });
  using pci = new PciMachine([toy]);
  assertEquals(pci.run(...read(1, CAPABILITY), ...read(1, CAPABILITY + 4)), [
    0x8000_0840,
    0x0002_0011,
    0x8000_0844,
    1,
  ]);
  assertEquals(pci.last(...read(1, CAPABILITY + 8)), 0x801);
  const table = pci.last(...read(1, BAR(1)));
  assertEquals(pci.last(read32(table + 2 * 16 + 12)), 1);
  pci.run(
    ...write(1, COMMAND, 6),
    write32(table + 16, 0x8000),
    write32(table + 16 + 8, 0xabcd_ef01),
    ...write(1, CAPABILITY, 0x8000_0000),
  );
  toy.send(1);
  assertEquals(pci.vm.memory.u32(0x8000), 0);
  assertEquals(pci.last(read32(table + 0x800)), 2);
  // The whole function masked, and then the vector alone unmasked.
  pci.run(...write(1, CAPABILITY, 0xc000_0000), write32(table + 16 + 12, 0));
  assertEquals(pci.vm.memory.u32(0x8000), 0);
  pci.run(...write(1, CAPABILITY, 0x8000_0000));
  assertEquals(pci.vm.memory.u32(0x8000), 0xabcd_ef01);
  assertEquals(pci.last(write32(table + 0x800, 0xff), read32(table + 0x800)), 0);
  toy.send(99);
  const state = structuredClone(pci.bus.save());
  pci.bus.reset();
  assertEquals(pci.last(read32(table + 16 + 8)), 0);
  pci.bus.restore(state);
  assertEquals(pci.last(read32(table + 16 + 8)), 0xabcd_ef01);
});

Deno.test("a message to the local APIC interrupts the guest", () => {
  const toy: Toy = new Toy({
    msi: 1,
    bars: [{ type: "io", size: 4, read: () => 0, write: () => toy.send(0) }],
  });
  using vm = boot(
    asm`
      bits 32
      mov dword [0xfee000f0], 0x1ff   ; the local APIC is on
      mov ebx, 0x80000844
      mov ecx, 0xfee00000
      call config
      mov ebx, 0x8000084c
      mov ecx, 0x41
      call config
      mov ebx, 0x80000804
      mov ecx, 7
      call config
      mov ebx, 0x80000840
      mov ecx, 0x00010000
      call config
      sti
      mov edx, 0xc000
      out dx, al
    wait_message:
      cmp byte [taken], 1
      jne wait_message
      cli
      hlt
    config:
      mov edx, 0xcf8
      mov eax, ebx
      out dx, eax
      mov edx, 0xcfc
      mov eax, ecx
      out dx, eax
      ret
    on_message:
      mov byte [taken], 1
      iret
    taken: db 0
    `,
    { devices: [new PciBus([toy])], irqchip: true, gates: { 0x41: "on_message" } },
  );
  vm.run();
  expect(vm).toHaveMemory("taken", [1]);
});
