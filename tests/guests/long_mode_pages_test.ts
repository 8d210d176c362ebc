import {
  asm,
  boot,
  expect,
  hlt,
  type LongOptions,
  type Machine,
  mmioRead,
  portOut,
} from "@vmexit/vmexit";
import { descriptorToSegment, type PageSizeName } from "@vmexit/vmexit/x86";
import { assertEquals } from "@std/assert";

const guest = asm.file("../../guests/long_mode_pages.asm");

const COM1 = 0x3f8;
const DEVICE = 0x200000;
const STACK = { start: 0xc000, end: 0x10000 };
const UNTOUCHED = 0xfe;

/** The default machine, with a stack that shows what was pushed. */
function bootWithMarkedStack(options: Partial<LongOptions>): Machine {
  const vm = boot(guest, { mode: "long", ...options });
  vm.memory.write(STACK.start, new Uint8Array(STACK.end - STACK.start).fill(UNTOUCHED));
  return vm;
}

for (const identityMap of ["2M", "4K"] satisfies PageSizeName[]) {
  Deno.test(`a long-mode guest in ${identityMap} pages greets, asks a device, and halts`, () => {
    using vm = bootWithMarkedStack({ identityMap });

    expect(vm).toExit([
      portOut(COM1, "Hello, console!\n", 1),
      mmioRead(DEVICE, 1).returns(0x12),
      hlt(),
    ]);

    expect(vm).toHaveSerial("Hello, console!\n");
    expect(vm).toHaveRegisters({ rax: 0x12, rsp: STACK.end - 16 });
  });

  Deno.test(`at its HLT the stack in ${identityMap} pages holds what was pushed, and 0xfe below`, () => {
    using vm = bootWithMarkedStack({ identityMap });
    vm.mmio.on(DEVICE, { read: () => 0x12 });

    vm.run();

    assertEquals(vm.memory.u64(STACK.end - 8), 0x12n);
    assertEquals(vm.memory.u64(STACK.end - 16), 0x1122334455667788n);
    expect(vm).toHaveMemory(
      STACK.start,
      new Uint8Array(STACK.end - 16 - STACK.start).fill(UNTOUCHED),
    );
    expect(vm).toBeHalted();
  });

  Deno.test(`page tables for ${identityMap} pages start at 0x1000 and map each address to itself`, () => {
    using vm = boot(guest, { mode: "long", identityMap });
    expect(vm).toHaveRegisters({ cr3: 0x1000 });

    for (const linear of [0, 0x1000, STACK.end - 8, 0x10000, DEVICE - 1]) {
      const { result, levels } = vm.linear.walk(linear);
      assertEquals("physical" in result && result.physical, linear);
      assertEquals("physical" in result && result.pageSize, identityMap);
      assertEquals(
        levels.map(({ gpa }) => gpa - gpa % 0x1000),
        identityMap === "2M" ? [0x1000, 0x2000, 0x3000] : [0x1000, 0x2000, 0x3000, 0x4000],
      );
    }
    // Behind the memory, both have 2 MiB pages.
    const { result } = vm.linear.walk(DEVICE);
    assertEquals("physical" in result && [result.physical, result.pageSize], [DEVICE, "2M"]);
  });
}

Deno.test("the GDT at 0x5000 has the null, code, data and TSS descriptors that the registers hold", () => {
  using vm = boot(guest, { mode: "long" });
  const { gdt, cs, ss, tr } = vm.registers;
  assertEquals([gdt.base, gdt.limit], [0x5000n, 0x27]);

  assertEquals(vm.memory.u64(0x5000), 0n);
  const code = descriptorToSegment(vm.memory.read(0x5008, 8), 0x08);
  const data = descriptorToSegment(vm.memory.read(0x5010, 8), 0x10);
  const task = descriptorToSegment(vm.memory.read(0x5018, 16), 0x18);
  assertEquals(code, { ...cs });
  assertEquals(data, { ...ss });
  assertEquals(task, { ...tr });
  assertEquals([code.l, code.db, code.s], [1, 0, 1]);
  assertEquals(task.base, 0x5100n);
});

Deno.test("the code lies at 0x10000, where it starts, and the stack ends there", () => {
  using vm = boot(guest, { mode: "long" });

  expect(vm).toHaveRegisters({ rip: 0x10000, rsp: 0x10000 });
  expect(vm).toHaveMemory(0x10000, vm.image.bytes);
});
