import { asm, boot, expect, type LongOptions, type Machine } from "@vmexit/vmexit";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** Linear 0x400000 on physical 0x8000, 0x401000 on 0xa000, 0x402000 nowhere, 0x403000 on what no slot backs. */
function machine(): Machine {
  const options: LongOptions = {
    mode: "long",
    mappings: [
      { linear: 0x40_0000, physical: 0x8000, size: 0x1000 },
      { linear: 0x40_1000, physical: 0xa000, size: 0x1000, writable: false },
      { linear: 0x40_2000, size: 0x1000, present: false },
      { linear: 0x40_3000, physical: 0x9000_0000, size: 0x1000 },
    ],
    pageTables: 0x20000,
  };
  return boot(
    asm`
      bits 64
      mov rax, [0x400ffc]
      mov byte [0x400010], 0x77
      hlt
    `,
    options,
  );
}

Deno.test("linear memory goes through the guest's page tables, page by page", () => {
  using vm = machine();
  vm.linear.setU64(0x40_0ffc, 0x1122_3344_5566_7788n);
  assertEquals([vm.memory.u32(0x8ffc), vm.memory.u32(0xa000)], [0x5566_7788, 0x1122_3344]);
  vm.run();
  // The guest saw the same at the same address.
  assertEquals(vm.registers.rax, 0x1122_3344_5566_7788n);
  assertEquals([vm.linear.u8(0x40_0010), vm.memory.u8(0x8010)], [0x77, 0x77]);
  assertEquals([vm.linear.toPhysical(0x40_1234), vm.linear.toPhysical(0x40_0ffcn)], [
    0xa234,
    0x8ffc,
  ]);
});

Deno.test("an address that is not mapped is an error that shows the walk", () => {
  using vm = machine();
  const error = assertThrows(() => vm.linear.u8(0x40_2000), RangeError, "linear 0x402000");
  const lines = (error as Error).message.split("\n");
  assertEquals(
    lines.slice(2).map((line) => line.trim().split(" ")[0]),
    ["PML4E", "PDPTE", "PDE", "PTE", "not"],
  );
  assertThrows(() => vm.linear.u8(0x8000_0000_0000), RangeError, "canonical");
});

Deno.test("an address that is mapped on no memory is an error that names the slots", () => {
  using vm = machine();
  assertThrows(
    () => vm.linear.u8(0x40_3000),
    RangeError,
    "Cannot read 1 byte at physical 0x90000000",
  );
  assertThrows(() => vm.linear.setU8(0x40_3000, 1), RangeError, "Cannot write 1 byte");
});

Deno.test("a write is whole, or not made at all", () => {
  using vm = machine();
  assertThrows(() => vm.linear.write(0x40_1ffe, [1, 2, 3, 4]), RangeError);
  assertEquals(vm.memory.u16(0xaffe), 0);
  // The second page is mapped, and has no memory.
  const entry = vm.linear.walk(0x40_2000).levels.at(-1)!;
  vm.memory.setU64(entry.gpa, 0x9000_0003n);
  assertThrows(() => vm.linear.write(0x40_1ffe, [1, 2, 3, 4]), RangeError, "0x90000000");
  assertEquals(vm.memory.u16(0xaffe), 0);
});

Deno.test("while paging is off linear addresses are physical ones", () => {
  using vm = boot(
    asm`
      mov word [0x700], 0x1234
      hlt
    `,
  );
  vm.run();
  assertEquals(vm.linear.u16(0x700), 0x1234);
  assertEquals(vm.linear.toPhysical(0x12345), 0x12345);
  assertThrows(() => vm.linear.u8(0x200000), RangeError, "0x200000");
});

Deno.test("addresses that are none are refused", () => {
  using vm = machine();
  for (const address of [0.5, NaN, Infinity, 2 ** 53]) {
    assertThrows(
      () => vm.linear.u8(address),
      RangeError,
      `Cannot use ${address} as a linear address`,
    );
  }
  assertThrows(() => vm.linear.u8(-1), RangeError);
});

Deno.test("linear memory of the higher half is reached by bigint addresses", () => {
  const higherHalf = 0xffff_ffff_8000_0ff8n;
  using vm = boot(asm`hlt`, {
    mode: "long",
    mappings: [{ linear: 0xffff_ffff_8000_0000n, physical: 0x20000, size: 0x2000 }],
  });
  vm.linear.write(higherHalf, "across two pages");
  assertEquals(vm.memory.string(0x20ff8, 16), "across two pages");
  assertEquals(vm.linear.string(higherHalf), "across two pages");
  expect(vm).toHaveLinearMemory(higherHalf, "across");
  assertThrows(() => vm.linear.u8(0xffff_ffff_9000_0000n), RangeError, "it is not mapped");
});

Deno.test("an MMIO handler is refused where RAM lies, and taken where only reads have memory", () => {
  using vm = boot(asm`hlt`, {
    memory: "64K",
    slots: [{ gpa: 0x20000, size: "4K", readonly: true }],
  });
  const error = assertThrows(() => vm.mmio.on([0xf000, 0x10fff], { read: () => 0 }), RangeError);
  assertStringIncludes(error.message, "RAM lies at 0x0–0xffff");
  using _rom = vm.mmio.on(0x20000, { write() {} });
});
