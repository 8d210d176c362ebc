import { asm, boot, type BootOptions, expect, hlt, mmioWrite, portOut } from "@vmexit/vmexit";
import { mainMemory, planSlots } from "../../../lib/machine/memory/memory_slots.ts";
import { assertEquals, assertThrows } from "@std/assert";

const ranges = (options: BootOptions) => {
  using vm = boot(asm`hlt`, options);
  return vm.memory.slots.map(({ gpa, size }) => [gpa, size]);
};

Deno.test("memory with the holes of a PC", () => {
  assertEquals(ranges({ memory: "PC" }), [[0, 0xa_0000], [0x10_0000, 0xf0_0000]]);
  assertEquals(ranges({ memory: { size: "512K", holes: "PC" } }), [[0, 0x8_0000]]);
  assertEquals(ranges({ memory: { size: "640K", holes: "PC" } }), [[0, 0xa_0000]]);
  assertEquals(ranges({ memory: { size: "1M", holes: "PC" } }), [[0, 0xa_0000]]);
  // As much as an emulated machine does not have.
  const large = planSlots({ ...mainMemory({ size: "4G", holes: "PC" }), hugePages: false }, []);
  assertEquals(large.map(({ gpa, size }) => [gpa, size]), [
    [0, 0xa_0000],
    [0x10_0000, 0xbff0_0000],
    [0x1_0000_0000, 0x4000_0000],
  ]);
});

Deno.test("a PC's holes are none of its memory", () => {
  using vm = boot(
    asm`
      bits 32
      mov byte [0x9ffff], 1
      mov byte [0xb8000], 'x'
      mov byte [0x100000], 2
      mov al, [0x9ffff]
      add al, [0x100000]
      out 0x10, al
      hlt
    `,
    { memory: "PC" },
  );
  expect(vm).toExit([mmioWrite(0xb_8000, "x"), portOut(0x10, 3), hlt()]);
  assertThrows(() => vm.memory.u8(0xa_0000), RangeError, "no memory is there");
});

Deno.test("a machine without main memory has what slots give it", () => {
  using vm = boot(
    asm`
      mov al, [cs:text]
      out 0x10, al
      mov [0x100], al
      hlt
    text: db 'T'
    `,
    {
      memory: 0,
      cs: 0xf000,
      slots: [{ gpa: 0xf_0000, size: "64K" }],
    },
  );
  assertEquals(vm.memory.slots.length, 1);
  expect(vm).toExit([portOut(0x10, "T"), mmioWrite(0x100, "T"), hlt()]);
});

Deno.test("a machine without memory where the guest lies, or its mode's tables, is refused", () => {
  assertThrows(() => boot(asm`hlt`, { memory: 0 }), RangeError, "do not fit the machine's memory");
  assertThrows(
    () =>
      boot(
        asm`
          bits 64
          hlt
        `,
        { memory: 0 },
      ),
    RangeError,
    "the memory ends at 0x0",
  );
});

Deno.test("main memory that cannot be is refused", () => {
  const refused = (memory: unknown, message: string) =>
    assertThrows(() => boot(asm`hlt`, { memory } as BootOptions), Error, message);
  refused("pc", 'Cannot read "pc" as a size');
  refused({ size: "1M", holes: "PCI" }, 'memory.holes "PCI"');
  refused({ size: "1M" }, "memory.holes undefined");
  refused({ size: 0, holes: "PC" }, "Cannot read 0 as a size");
  refused({ size: "1M", hole: "PC" }, "memory.hole");
  refused({ size: 4097, holes: "PC" }, "multiple of 4096");
  refused({ size: 0x9_0001, holes: "PC" }, "multiple of 4096");
});

Deno.test("pages that the guest writes are noted beside a PC's holes", () => {
  const guest = asm`
    bits 32
    mov byte [0x123456], 1
    hlt
  `;
  using holes = boot(guest, { memory: "PC", dirtyPages: "log" });
  holes.run();
  assertEquals(holes.memory.dirty(), [0x12_3000]);
});
