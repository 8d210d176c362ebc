import { asm, boot, expect, hlt, int10, int13, type Machine } from "@vmexit/vmexit";
import { Bios, Disk, TextScreen, Unikernel } from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";

Deno.test("a snapshot has the BIOS with its disks, keys, calls and planned failures", () => {
  const disk = new Disk(new Uint8Array(2048).fill(0x11));
  const screen = new TextScreen();
  const bios = new Bios({ disks: { 0x80: disk }, screen, keys: "ab" });
  using vm = boot(
    asm`
      mov ah, 0
      int 0x16
      mov ah, 0x0e
      int 0x10
      mov ax, 0x0301
      mov cx, 2
      mov dx, 0x80
      mov bx, 0x8000
      int 0x13
      hlt
    `,
    { devices: [screen, bios] },
  );
  vm.memory.write(0x8000, new Uint8Array(512).fill(0x22));
  bios.fails(0x13, 0x03, 0x04);
  const start = vm.snapshot();
  const seen = () => ({
    calls: bios.calls.map(({ name, ax }) => [name, ax]),
    printed: bios.printed,
    written: disk.written,
    byte: disk.bytes[512],
    pending: bios.pending,
    row: vm.screen.text.split("\n")[0],
  });
  const before = seen();
  const fails = () => {
    vm.run();
    return seen();
  };
  const first = fails();
  assertEquals([first.printed, first.written, first.pending], ["a", [], undefined]);
  vm.registers.rip = 0x500n;
  vm.run();
  assertEquals([bios.printed, disk.written, disk.bytes[512]], ["ab", [1], 0x22]);
  vm.restore(start);
  assertEquals(seen(), before);
  assertEquals(fails(), first);

  // By a transcript, too: what it planned for a call is over with the call.
  vm.restore(start);
  expect(vm).toExit([
    int10({ ah: 0x0e, al: "a" }),
    int13({ ah: 0x03 }).returns({ ah: 0 }),
    hlt(),
  ], { pending: true });
  assertEquals(disk.written, []);
});

/** Reads three bytes of standard input and three of a file, and writes them out. */
const READS = asm`
  bits 64
  mov dx, 0x440
  mov eax, open
  out dx, eax
  hlt
again:
  mov eax, read
  mov dx, 0x500
  out dx, eax
  mov eax, write
  mov dx, 0x400
  out dx, eax
  hlt
  align 8
open:  dq path
       dd 0, 0, 0
read:  dd 3
       dq buffer, 3, 0
write: dd 1
       dq buffer, 3
path:  db "file", 0
buffer: dq 0
`;

Deno.test("a snapshot has a unikernel's open files, and what it has written", () => {
  const unikernel = new Unikernel({ files: { file: "abcdefghi" } });
  using vm = boot(READS, { convention: "unikernel", devices: [unikernel] });
  const more = (machine: Machine) => {
    machine.registers.rip = "again";
    machine.run();
    return unikernel.output;
  };
  vm.run();
  assertEquals(more(vm), "abc");
  const opened = vm.snapshot();
  assertEquals([more(vm), more(vm)], ["abcdef", "abcdefghi"]);
  assertEquals(unikernel.calls.length, 7);
  vm.restore(opened);
  assertEquals([unikernel.output, unikernel.calls.length], ["abc", 3]);
  assertEquals(more(vm), "abcdef");
});
