import {
  asm,
  boot,
  expect,
  hlt,
  type LongOptions,
  mmioWrite,
  portIn,
  portOut,
  shutdown,
} from "@vmexit/vmexit";
import { assertEquals, assertThrows } from "@std/assert";

const guest = asm.file("../../guests/long_mode_own_tables.asm");

const CONSOLE = 0x1000;
const DEVICE = 0x8000;

/** 32 KiB: page tables in the first 16, and everything that they map in the second, but for one page outside of memory. */
const options: LongOptions = {
  mode: "long",
  memory: "32K",
  pageTables: { start: 0, end: 0x4000 },
  identityMap: false,
  mappings: [
    { linear: 0x0000, physical: 0x4000, size: 0x1000, writable: false },
    { linear: 0x1000, physical: 0x5000, size: 0x3000 },
    { linear: 0x4000, physical: DEVICE, size: 0x1000 },
  ],
  gdt: false,
  idt: false,
  tss: false,
  stack: 0x4000,
};

Deno.test("a long-mode guest behind its own page tables causes these exits, in order", () => {
  using vm = boot(guest, options);

  expect(vm).toExit([
    portOut(CONSOLE, "Hello from Long Mode!\n", 1), // 22 exits of one byte
    portIn(CONSOLE, 1).returns(0xaa),
    mmioWrite(DEVICE, 0x11, 1),
    mmioWrite(DEVICE, 0x2211, 2),
    mmioWrite(DEVICE, 0x44332211, 4),
    mmioWrite(DEVICE, 0x8877665544332211n, 8),
    hlt(),
  ]);

  expect(vm).toHavePortOutput(CONSOLE, "Hello from Long Mode!\n");
  expect(vm).toBeHalted();
});

Deno.test("bytes stored at linear 0x2000 appear at physical 0x6000", () => {
  using vm = boot(guest, options);
  expect(vm).toHaveMemory(0x6000, [0, 0, 0, 0]);
  vm.ports.on(CONSOLE, { write: () => {}, read: () => 0xaa });
  vm.mmio.on([DEVICE, DEVICE + 7], { write: () => {} });

  vm.run();

  expect(vm).toHaveMemory(0x6000, [0x11, 0x22, 0x33, 0x44]);
  expect(vm).toHaveLinearMemory(0x2000, [0x11, 0x22, 0x33, 0x44]);
  expect(vm).toHaveMemory(0x7000, [0xaa]); // the answer to insb, at linear 0x3000
  assertEquals(vm.linear.toPhysical(0x2000), 0x6000);
});

Deno.test("the tables map four pages of memory, the first read-only, and one without memory", () => {
  using vm = boot(guest, options);
  const pages = [0x0000, 0x1000, 0x2000, 0x3000, 0x4000].map((linear) => vm.linear.walk(linear));

  assertEquals(
    pages.map(({ result }) => "physical" in result ? [result.physical, result.writable] : result),
    [[0x4000, false], [0x5000, true], [0x6000, true], [0x7000, true], [DEVICE, true]],
  );
  for (const { levels } of pages) {
    assertEquals(levels.map(({ level }) => level), ["PML4E", "PDPTE", "PDE", "PTE"]);
    assertEquals(levels.every(({ gpa }) => gpa < 0x4000), true, "tables in the first 16 KiB");
  }
  assertThrows(() => vm.linear.toPhysical(0x5000), RangeError, "the PTE is not present");
  assertThrows(() => vm.memory.u8(DEVICE), RangeError);
});

Deno.test("a write to the read-only page shuts the guest down, and leaves the page as it was", () => {
  using vm = boot(asm.file("../../guests/read_only_page.asm"), options);
  const before = vm.memory.read(0x4000, 0x1000);

  expect(vm).toExit([shutdown()]);

  expect(vm).toHaveMemory(0x5000, [0x55]); // the writable page, which came first
  expect(vm).toHaveMemory(0x4000, before);
  expect(vm).toBeShutDown();
  expect(vm).not.toBeHalted();
});

Deno.test("the same guest halts when that page is writable", () => {
  using vm = boot(asm.file("../../guests/read_only_page.asm"), {
    ...options,
    mappings: [{ linear: 0, physical: 0x4000, size: 0x4000 }],
  });

  expect(vm).toExit([hlt()]);

  expect(vm).toHaveMemory(0x5000, [0x55]);
  expect(vm).toHaveMemory(0x4800, [0x55]);
});
