import { asm, boot, expect } from "@vmexit/vmexit";
import { Flash, ResetControl } from "@vmexit/vmexit/devices";
import { assertEquals, assertThrows } from "@std/assert";
import {
  type Access,
  bootAccesses,
  perform,
  read16,
  read32,
  read8,
  write16,
  write32,
  write8,
} from "./accesses.ts";

const SIZE = 0x4000;
const BASE = 2 ** 32 - SIZE;

const numbered = (size = SIZE) => Uint8Array.from({ length: size }, (_, index) => index >> 8);

/** A chip, and a guest that makes accesses to it. */
function chip(content = numbered()) {
  const flash = new Flash({ content });
  const vm = bootAccesses({ devices: [flash] });
  const last = (...accesses: Access[]) => perform(vm, accesses).at(-1)!;
  const byte = (...accesses: Access[]) => last(...accesses) & 0xff;
  /** Writes bytes of commands to an offset. */
  const command = (offset: number, ...bytes: number[]) =>
    bytes.map((each) => write8(BASE + offset, each));
  return { flash, vm, last, byte, command, [Symbol.dispose]: () => vm[Symbol.dispose]() };
}

Deno.test("the array is memory; commands show status, identity, and the array again", () => {
  using all = chip();
  const { byte, command, last, vm } = all;
  const exits = () => vm.log.total;
  const before = exits();
  assertEquals([last(read32(BASE + 0x1234)), byte(read8(BASE + 0x3fff))], [0x1212_1212, 0x3f]);
  // Two runs that end with HLT, and no other exit.
  assertEquals(exits() - before, 2);
  assertEquals(byte(...command(0x10, 0x70), read8(BASE + 0x1234)), 0x80);
  assertEquals(last(read32(BASE + 0x1234)) >>> 0, 0x8080_8080);
  assertEquals(byte(...command(0, 0x90), read8(BASE)), 0x89);
  assertEquals(byte(read8(BASE + 0x1001)), 0x18);
  assertEquals(byte(...command(0, 0xff), read8(BASE + 0x1234)), 0x12);
  // As firmware for virtual machines asks whether it is ROM, RAM or flash.
  assertEquals(byte(...command(5, 0x50), read8(BASE + 5)), 0);
  assertEquals(byte(...command(0x305, 0x50), read8(BASE + 0x305)), 3);
  assertEquals(byte(...command(0x305, 0x70), read8(BASE + 0x305)), 0);
});

Deno.test("bytes are programmed, whose bits become 0 alone, and blocks are erased", () => {
  using all = chip();
  const { byte, command, flash, last } = all;
  assertEquals(byte(...command(0x1234, 0x40, 0x10), read8(BASE)), 0x80);
  assertEquals(byte(...command(0x1235, 0x10, 0xed, 0xff), read8(BASE + 0x1235)), 0x12 & 0xed);
  assertEquals(last(read16(BASE + 0x1234)) & 0xffff, 0x0010);
  // A word at once is its bytes.
  last(write16(BASE + 0x3ffe, 0x40), write16(BASE + 0x3ffe, 0x0f3f), write8(BASE, 0xff));
  assertEquals([...flash.content.subarray(0x3ffe)], [0x3f, 0x0f]);
  // A block, and nothing around it.
  assertEquals(byte(...command(0x2abc, 0x20, 0xd0), read8(BASE)), 0x80);
  const expected = numbered();
  expected.set([0x10, 0], 0x1234);
  expected.set([0x3f, 0x0f], 0x3ffe);
  expected.fill(0xff, 0x2000, 0x3000);
  assertEquals(flash.content, expected);
  // Without the second command nothing is, and the status says so.
  assertEquals(byte(...command(0x1000, 0x20, 0xff), read8(BASE)), 0xb0);
  assertEquals(byte(...command(0x1000, 0x50, 0x70), read8(BASE)), 0);
  assertEquals(flash.content, expected);
  // A write over the end ends there.
  last(write32(BASE + 0x3ffe, 0x40));
});

Deno.test("the query of the Common Flash Interface tells the geometry", () => {
  using all = chip();
  const { byte, command } = all;
  byte(...command(0x55, 0x98), read8(BASE));
  const at = (offset: number) => byte(read8(BASE + offset));
  const text = (offset: number) => String.fromCharCode(at(offset), at(offset + 1), at(offset + 2));
  assertEquals([text(0x10), text(at(0x15))], ["QRY", "PRI"]);
  assertEquals([at(0x13), at(0x14)], [1, 0]);
  // 16 KiB, no buffer, four blocks of 4 KiB.
  assertEquals([at(0x27), at(0x2a), at(0x2c), at(0x2d), at(0x2e), at(0x2f), at(0x30)], [
    14,
    0,
    1,
    3,
    0,
    16,
    0,
  ]);
});

/** Firmware of 4 KiB at the reset vector: it counts how often it has run, by bytes of the chip at 0xffc00000. */
const FIRMWARE = asm`
  bits 16
  org 0xfffff000
start:
  o32 lgdt [cs:0xf000 + gdtr - start]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  jmp dword 8:protected
  bits 32
protected:
  mov ax, 16
  mov ds, ax
  mov ebx, 0xffc00010
next:
  inc ebx
  cmp byte [ebx], 0xff
  jne next
  mov byte [ebx], 0x10
  mov byte [ebx], "v"
poll:
  mov byte [ebx], 0x70
  test byte [ebx], 0x80
  jz poll
  cmp bl, 0x13
  je enough
  mov dx, 0xcf9             ; reset, with the chip in that mode
  mov al, 2
  out dx, al
  mov al, 6
  out dx, al
enough:
  mov byte [ebx], 0xff
  hlt
  align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
  dd gdt
  times 0xff0 - ($ - $$) db 0
  bits 16
  jmp start
  times 0x1000 - ($ - $$) db 0
`;

Deno.test("firmware that runs from one chip keeps variables in another, over resets", () => {
  const content = new Uint8Array(0x2000).fill(0xff);
  const flash = new Flash({ content, address: 0xffc0_0000 });
  const firmware = new Flash({ content: FIRMWARE.assemble({ bits: 16 }).bytes });
  using vm = boot(
    asm`
      mov dx, 0xcf9
      mov al, 2
      out dx, al
      mov al, 6
      out dx, al
      hlt
    `,
    { devices: [flash, firmware, new ResetControl()], reset: "restart" },
  );
  vm.run();
  expect(vm).toHaveRegisters({ ebx: 0xffc0_0013 });
  assertEquals([...flash.content.subarray(0x10, 0x15)], [0xff, 0x76, 0x76, 0x76, 0xff]);
  expect(vm).toHaveMemory(0xffc0_0011, "vvv");
  // The test's bytes are its own.
  assertEquals(content[0x11], 0xff);
});

Deno.test("a snapshot has the chip's content, and its mode", () => {
  using all = chip();
  const { byte, command, flash, vm } = all;
  byte(...command(0x1000, 0x20, 0xd0), read8(BASE));
  const snapshot = vm.snapshot();
  const then = flash.content;
  byte(...command(0x2000, 0x40, 0, 0xff), read8(BASE));
  vm.restore(snapshot);
  assertEquals(flash.content, then);
  assertEquals(byte(read8(BASE)), 0x80);
  assertEquals(byte(...command(0, 0xff), read8(BASE + 0x2000)), 0x20);
});

Deno.test("chips that cannot be are refused", () => {
  const content = new Uint8Array(0x1000);
  assertThrows(
    () => new Flash({ content: new Uint8Array(0x1800) }),
    RangeError,
    "in blocks of 4096",
  );
  assertThrows(() => new Flash({ content: new Uint8Array() }), RangeError, "of 0 bytes");
  assertThrows(() => new Flash({ content, blockSize: 0x2000 }), RangeError, "whole ones");
  assertThrows(() => new Flash({ content, blockSize: 512 }), RangeError, "from 4096 on");
  assertThrows(() => new Flash({ content: [1] as never }), TypeError, "give a Uint8Array");
  const refused = (address: number) => {
    const flash = new Flash({ content, address });
    assertEquals(flash.content, content);
    return () => boot(asm`hlt`, { devices: [flash] });
  };
  assertThrows(refused(0x1000), RangeError, "overlaps slot");
  assertThrows(
    refused(0xffff_f800),
    RangeError,
    "not a physical address that is a multiple of 4096",
  );
});
