import { asm, boot } from "@vmexit/vmexit";
import { libc } from "@vmexit/vmexit/kvm";
import { allocatePages } from "../../../lib/ffi/pages.ts";
import { type BackedSlot, slotOf } from "../../../lib/machine/memory/memory_slots.ts";
import { BackedMemory } from "../../../lib/machine/memory/physical_memory.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";

const PAGE = 4096;

function page(slot: number, gpa: number): BackedSlot {
  return slotOf(slot, gpa, false, allocatePages(libc(), PAGE));
}

/** Two slots beside each other, and one behind a hole. */
function memory(): BackedMemory {
  const refuse = () => {
    throw new Error("these slots stay");
  };
  const slots = [page(0, 0), page(2, PAGE), page(1, 0x10000)];
  return new BackedMemory(
    {
      slots,
      add: refuse,
      move: refuse,
      delete: refuse,
      allocate: refuse,
      replace: refuse,
      dirty: refuse,
      save: refuse,
      restore: refuse,
      hasViews: false,
      observe: refuse,
      take: refuse,
      dropPageTables: refuse,
      checkIsRestorable: refuse,
      a20: true,
      beforeView() {},
      [Symbol.dispose]() {},
    },
    {
      addressOf: refuse,
      checkUsable() {},
      finishExit() {},
      checkIsNoDevice() {},
      nextInstructions: () => [],
    },
  );
}

Deno.test("what the test wrote the guest reads, and what the guest wrote the test reads", () => {
  using vm = boot(
    asm`
      mov eax, [0x700]
      add eax, 1
      mov [0x704], eax
      hlt
    `,
  );
  vm.memory.setU32(0x700, 0xffff_fffe);
  const view = vm.memory.view(0x704, 4);
  vm.run();
  assertEquals(vm.memory.u32(0x704), 0xffff_ffff);
  // The view shows what the guest did after it was taken.
  assertEquals(view, new Uint8Array([0xff, 0xff, 0xff, 0xff]));
});

Deno.test("a view is memory itself, in both directions", () => {
  using vm = boot(
    asm`
      mov al, [0x700]
      hlt
    `,
  );
  vm.memory.view(0x700, 1)[0] = 0x5c;
  vm.run();
  assertEquals(vm.registers.al, 0x5c);
});

Deno.test("integers of every width are little-endian", () => {
  const m = memory();
  m.setU8(0, 0xff);
  m.setU16(1, 0x0201);
  m.setU32(3, 0xfffefdfc);
  m.setU64(7, 0xfedcba9876543210n);
  assertEquals(m.read(0, 7), new Uint8Array([0xff, 1, 2, 0xfc, 0xfd, 0xfe, 0xff]));
  assertEquals(m.read(7, 8), new Uint8Array([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]));
  assertEquals([m.u8(0), m.u16(1), m.u32(3)], [0xff, 0x0201, 0xfffefdfc]);
  assertEquals(m.u64(7), 0xfedcba9876543210n);
});

Deno.test("an integer that is too wide is refused, and nothing is written", () => {
  const m = memory();
  for (
    const write of [
      () => m.setU8(0, 256),
      () => m.setU8(0, -1),
      () => m.setU16(0, 0x10000),
      () => m.setU32(0, 2 ** 32),
      () => m.setU32(0, 0.5),
      () => m.setU64(0, 2n ** 64n),
      () => m.setU64(0, -1n),
    ]
  ) assertThrows(write, RangeError, "it is not a whole number from 0 to 2^");
  assertThrows(() => m.write(0, [1, 256]), RangeError, "element 1 is not from 0 to 255");
  assertEquals(m.u64(0), 0n);
});

Deno.test("strings: of a length, or up to a NUL, in UTF-8", () => {
  const m = memory();
  m.write(0x10, "grüße\0rest");
  assertEquals(m.string(0x10), "grüße");
  assertEquals(m.string(0x10, 2), "gr");
  assertEquals(m.string(0x10, 9), "grüße\0r");
  m.write(2 * PAGE - 2, "ab");
  assertThrows(() => m.string(2 * PAGE - 2), RangeError, "no memory is there");
});

Deno.test("reads and writes go from one slot into the next", () => {
  const m = memory();
  m.write(PAGE - 2, [1, 2, 3, 4]);
  assertEquals(m.read(PAGE - 2, 4), new Uint8Array([1, 2, 3, 4]));
  assertEquals(m.u32(PAGE - 2), 0x04030201);
  // A view cannot: it is one piece of one slot's memory.
  assertThrows(() => m.view(PAGE - 2, 4), RangeError, "Cannot view 4 bytes at physical 0xffe");
});

Deno.test("an address without memory is an error that names the slots there are", () => {
  const m = memory();
  const error = assertThrows(() => m.u8(0x5000), RangeError);
  assertEquals(
    (error as Error).message,
    "Cannot read 1 byte at physical 0x5000: no memory is there. The slots are 0x0–0xfff, 0x1000–0x1fff, 0x10000–0x10fff.",
  );
  assertThrows(() => m.setU16(0x10fff, 1), RangeError, "Cannot write 2 bytes at physical 0x10fff");
});

Deno.test("addresses and lengths that are none are refused", () => {
  const m = memory();
  for (const address of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
    const message = `Cannot use ${address} as a physical address`;
    assertThrows(() => m.u8(address), RangeError, message);
    assertThrows(() => m.setU8(address, 1), RangeError, message);
    assertThrows(() => m.view(address, 1), RangeError, message);
  }
  for (const length of [-1, 0.5, NaN, Infinity]) {
    assertThrows(() => m.read(0, length), RangeError, "Cannot", String(length));
    assertThrows(() => m.view(0, length), RangeError, "Cannot", String(length));
  }
  assertEquals(m.read(0, 0), new Uint8Array(0));
});

Deno.test("a write is whole, or not made at all", () => {
  fc.assert(fc.property(
    fc.nat(0x3000),
    fc.uint8Array({ minLength: 1, maxLength: PAGE + 10 }),
    (address, bytes) => {
      const m = memory();
      const fits = address + bytes.length <= 2 * PAGE;
      bytes.fill(0xee);
      if (fits) {
        m.write(address, bytes);
        assertEquals(m.read(address, bytes.length), bytes);
      } else {
        assertThrows(() => m.write(address, bytes), RangeError);
        assert(m.slots.every((slot) => slot.bytes.every((byte) => byte === 0)));
      }
    },
  ));
});

Deno.test("slots are given by address", () => {
  assertEquals(memory().slots.map(({ gpa }) => gpa), [0, PAGE, 0x10000]);
  assertEquals(memory().slotAt(0x1fff)?.slot, 2);
  assertEquals(memory().slotAt(0x2000), undefined);
});

Deno.test("extra slots are memory like any other", () => {
  using vm = boot(
    asm`
      bits 64
      mov al, [0x40000000 - 1]
      mov [0x200000 + 5], al
      hlt
    `,
    {
      slots: [{ gpa: 0x200000, size: "4K" }, {
        gpa: 0x3fff_f000,
        size: PAGE,
        content: new Uint8Array(PAGE).fill(0x3c),
      }],
    },
  );
  vm.run();
  assertEquals(vm.memory.u8(0x200005), 0x3c);
  assertEquals(vm.memory.slots.length, 3);
});

Deno.test("a read-only slot is read like memory, and a write to it is an MMIO exit", () => {
  using vm = boot(
    asm`
      bits 64
      mov al, [0x200000]
      mov byte [0x200000], 0x99
      mov bl, [0x200000]
      hlt
    `,
    { slots: [{ gpa: 0x200000, size: "4K", readonly: true, content: "R" }] },
  );
  const written: unknown[] = [];
  vm.mmio.on([0x200000, 0x200fff], { write: (...access) => void written.push(access) });
  vm.run();
  assertEquals([vm.registers.al, vm.registers.bl], [0x52, 0x52]);
  assertEquals(written, [[0x200000, 0x99, 1]]);
  // The host may: it is the one who burns the ROM.
  vm.memory.setU8(0x200000, 0x53);
  assertEquals(vm.memory.u8(0x200000), 0x53);
});
