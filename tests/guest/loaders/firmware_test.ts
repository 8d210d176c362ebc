import { boot, type BootOptions, expect, hlt, Image, mmioWrite, portOut } from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { flat } from "./linked.ts";

/** Firmware of 64 KiB: from the reset vector to F000:0000, where it looks at itself, and writes over its shadow. */
const ROM = flat(`
  org 0
  mov esi, edx
  mov eax, 1
  cpuid
  sub eax, esi
  out 0x10, eax               ; the processor's signature
  mov ax, cs
  out 0x10, ax
  mov al, [cs:text]
  out 0x10, al
  mov byte [cs:text], 'x'     ; ROM
  mov al, [cs:text]
  out 0x10, al
  mov byte [0x500], 'm'       ; RAM
  mov al, [0x500]
  out 0x10, al
  hlt
text: db 'R'
  times 0xfff0 - ($ - $$) db 0
  jmp 0xf000:0
  times 0x10000 - ($ - $$) db 0
`);

Deno.test("a ROM starts at the reset vector, and shows below 1 MiB", () => {
  const image = Image.fromFile(ROM);
  assertEquals(
    image.description,
    "ROM, 0xffff0000–0xffffffff, starts at 0xfffffff0",
  );
  using vm = boot(image);
  expect(vm).toHaveRegisters({
    rip: 0xfff0,
    "cs.base": 0xffff_0000n,
    cs: 0xf000,
    cr0: 0x6000_0010n,
  });
  assert(vm.registers.edx !== 0);
  assertEquals(
    vm.memory.slots.map(({ gpa, size, readonly }) => [gpa, size, readonly]),
    [
      [0, 0xa_0000, false],
      [0xf_0000, 0x1_0000, true],
      [0x10_0000, 0xf0_0000, false],
      [0xffff_0000, 0x1_0000, true],
    ],
  );
  expect(vm).toExit([
    portOut(0x10, 0, 4),
    portOut(0x10, 0xf000, 2),
    portOut(0x10, "R"),
    mmioWrite(0xf_0000 + ROM.indexOf(0xf4) + 1, "x"),
    portOut(0x10, "R"),
    portOut(0x10, "m"),
    hlt(),
  ]);
});

Deno.test("a ROM whose shadow is RAM may write to itself below 1 MiB, and not at 4 GiB", () => {
  using vm = boot(Image.fromFile(ROM, { shadow: "ram" }));
  const shown = ROM.indexOf(0xf4) + 1;
  assertEquals(vm.memory.slots.filter(({ readonly }) => readonly).length, 1);
  expect(vm).toExit([
    portOut(0x10, 0, 4),
    portOut(0x10, 0xf000, 2),
    portOut(0x10, "R"),
    portOut(0x10, "x"),
    portOut(0x10, "m"),
    hlt(),
  ]);
  assertEquals(vm.memory.string(0xf_0000 + shown, 1), "x");
  assertEquals(vm.memory.string(0xffff_0000 + shown, 1), "R");
  const wrong = { shadow: "flash" as "ram" };
  assertThrows(() => Image.fromFile(ROM, wrong), TypeError, 'it is "rom" or "ram"');
});

Deno.test("a ROM larger than 128 KiB shows its end below 1 MiB, and 16 MiB find their room", () => {
  const large = new Uint8Array(16 * 2 ** 20);
  large.set(ROM, large.length - ROM.length);
  using vm = boot(Image.fromFile(large), { memory: { size: "2M", holes: "PC" } });
  assertEquals(vm.memory.slots.filter(({ readonly }) => readonly).map(({ gpa }) => gpa), [
    0xe_0000,
    0xff00_0000,
  ]);
  vm.ports.on(0x10, { write() {} });
  vm.mmio.on([0xe_0000, 0xf_ffff], { write() {} });
  vm.run();
  expect(vm).toBeHalted();
});

Deno.test("a ROM decides where it lies and how it starts", () => {
  const image = Image.fromFile(ROM);
  const boots = (options: BootOptions) => () => void boot(image, options);
  assertThrows(boots({ mode: "long" }), TypeError, "starts in mode real");
  assertThrows(boots({ entry: 0x7c00 }), TypeError, "with the option entry");
  assertThrows(boots({ sp: 0x7c00 }), TypeError, "with the option sp");
  assertThrows(boots({ kernel: { commandLine: "" } }), TypeError, "which is told nothing");
});

Deno.test("ROMs are whole pages, 16 MiB at the most, with a jump at the reset vector or a firmware volume", () => {
  const rom = (size: number) => Image.fromFile(new Uint8Array(size), { kind: "rom" });
  assertThrows(() => rom(0), RangeError, "it has 0 bytes");
  assertThrows(() => rom(4097), RangeError, "it has 4097 bytes: give whole pages of 4096");
  assertThrows(() => rom(17 * 2 ** 20), RangeError, "0x1000000 at the most");
  assertEquals(rom(4096).kind, "rom");
  assertThrows(() => Image.fromFile(new Uint8Array(4096)), TypeError, "no ROM (whole pages");
  const volume = new Uint8Array(4096);
  volume.set(new TextEncoder().encode("_FVH"), 40);
  assertEquals(Image.fromFile(volume).kind, "rom");
  volume[43] = 0;
  assertThrows(() => Image.fromFile(volume), TypeError, "no ROM (whole pages");
});

const SECTOR = flat(`
  org 0x7c00
  mov al, dl
  out 0x10, al
  mov ax, cs
  out 0x10, ax
  call next
next:
  pop ax
  out 0x10, ax
  hlt
  times 510 - ($ - $$) db 0
  dw 0xaa55
`);

for (
  const [what, size, drive] of [
    ["a sector", 512, 0x80],
    ["a disk", 512 * 2048, 0x80],
    ["a floppy of 1.44 MB", 1440 * 1024, 0],
  ] as const
) {
  Deno.test(`a boot sector is loaded as a BIOS does it: of ${what}`, () => {
    const file = new Uint8Array(size).fill(0xcc);
    file.set(SECTOR);
    const image = Image.fromFile(file);
    assertEquals([image.kind, image.size, image.entry], ["boot-sector", 512, 0x7c00n]);
    using vm = boot(image);
    expect(vm).toExit([
      portOut(0x10, drive),
      portOut(0x10, 0, 2),
      portOut(0x10, 0x7c0b, 2),
      hlt(),
    ]);
    using elsewhere = boot(image, { cs: 0x7c0, ip: 0 });
    expect(elsewhere).toExit([
      portOut(0x10, drive),
      portOut(0x10, 0x7c0, 2),
      portOut(0x10, 0x0b, 2),
      hlt(),
    ]);
  });
}

Deno.test("a boot sector needs its signature", () => {
  const open = (file: Uint8Array) => () => Image.fromFile(file, { kind: "boot-sector" });
  assertThrows(
    open(new Uint8Array(512)),
    RangeError,
    "its signature at byte 510 is 0x0, not 0xaa55",
  );
  assertThrows(open(SECTOR.slice(0, 511)), RangeError, "it has 511 bytes of 512: it is cut short");
});
