import { asm, boot, expect } from "@vmexit/vmexit";
import { Disk, IdeDisk } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import { type Access, bootAccesses, in16, in32, in8, out16, out8, perform } from "./accesses.ts";

const DATA = 0x1f0;
const ERROR = 0x1f1;
const COUNT = 0x1f2;
const LOW = 0x1f3;
const MID = 0x1f4;
const HIGH = 0x1f5;
const DEVICE = 0x1f6;
const STATUS = 0x1f7;
const CONTROL = 0x3f6;

/** Status: ready, with data, with an error. */
const READY = 0x50;
const DRQ = 0x58;
const FAILED = 0x51;

/** A disk whose sectors hold their own number in each byte. */
function numbered(sectors: number): Disk {
  return new Disk(Uint8Array.from({ length: sectors * 512 }, (_, index) => index / 512));
}

function machine(disk: Disk) {
  const vm = bootAccesses({ devices: [new IdeDisk(disk)] });
  const run = (...accesses: Access[]) => perform(vm, accesses);
  const low8 = (...accesses: Access[]) => run(...accesses).map((value) => value & 0xff);
  return { run, low8, [Symbol.dispose]: () => vm[Symbol.dispose]() };
}

/** A command with LBA of 28 bits. */
function command(code: number, lba = 0, count = 1): Access[] {
  return [
    out8(DEVICE, 0xe0 | lba / 2 ** 24),
    out8(COUNT, count & 0xff),
    out8(LOW, lba & 0xff),
    out8(MID, lba >> 8 & 0xff),
    out8(HIGH, lba >> 16 & 0xff),
    out8(STATUS, code),
  ];
}

/** A command with LBA of 48 bits. */
function extended(code: number, lba: number, count = 1): Access[] {
  const byte = (index: number) => Math.floor(lba / 256 ** index) & 0xff;
  return [
    out8(DEVICE, 0x40),
    out8(COUNT, count >> 8),
    out8(LOW, byte(3)),
    out8(MID, byte(4)),
    out8(HIGH, byte(5)),
    out8(COUNT, count & 0xff),
    out8(LOW, byte(0)),
    out8(MID, byte(1)),
    out8(HIGH, byte(2)),
    out8(STATUS, code),
  ];
}

const words = (count: number): Access[] => Array.from({ length: count }, () => in16(DATA));

/** Finds the disk, reads sectors 1 and 2 by interrupts, exchanges them and writes them back by polling. */
const DRIVER = asm`
  bits 32
  mov al, 0x11              ; the PICs: vectors 0x20 and 0x28 on, IRQ 14 alone
  out 0x20, al
  out 0xa0, al
  mov al, 0x20
  out 0x21, al
  mov al, 0x28
  out 0xa1, al
  mov al, 4
  out 0x21, al
  mov al, 2
  out 0xa1, al
  mov al, 1
  out 0x21, al
  out 0xa1, al
  mov al, 0xfb
  out 0x21, al
  mov al, 0xbf
  out 0xa1, al
  cld
  mov ebx, 1
  mov al, 0x20              ; READ SECTORS: an interrupt for each
  call command
  mov edi, 0x20000
  mov ebp, 2
next:
  sti
wait_interrupt:
  hlt
  cmp byte [interrupts], 0
  je wait_interrupt
  cli
  dec byte [interrupts]
  mov edx, 0x1f0
  mov ecx, 256
  rep insw
  dec ebp
  jnz next
  mov al, 0x30              ; WRITE SECTORS
  call command
  mov esi, 0x20200
  call write
  mov esi, 0x20000
  call write
  mov edx, 0x1f7
  in al, dx
  cli
  hlt
command:
  push eax
  mov edx, 0x1f6
  mov al, 0xe0
  out dx, al
  mov edx, 0x1f2
  mov al, 2
  out dx, al
  inc edx
  mov al, bl
  out dx, al
  inc edx
  mov al, 0
  out dx, al
  inc edx
  out dx, al
  mov edx, 0x1f7
  pop eax
  out dx, al
  ret
write:
  mov edx, 0x1f7
.poll:
  in al, dx
  test al, 0x80
  jnz .poll
  test al, 0x08
  jz .poll
  mov edx, 0x1f0
  mov ecx, 256
  rep outsw
  ret
on_disk:
  push eax
  push edx
  mov edx, 0x1f7
  in al, dx
  inc byte [interrupts]
  mov al, 0x20
  out 0xa0, al
  out 0x20, al
  pop edx
  pop eax
  iret
interrupts: db 0
`;

Deno.test("a driver reads by interrupts, and writes by polling", () => {
  const disk = numbered(4);
  const device = new IdeDisk(disk);
  using vm = boot(DRIVER, { devices: [device], irqchip: true, gates: { 0x2e: "on_disk" } });
  vm.run();
  expect(vm).toHaveRegisters({ al: READY });
  assertEquals(disk.written, [1, 2]);
  assertEquals([disk.bytes[512], disk.bytes[1024], disk.bytes[1535]], [2, 1, 1]);
});

Deno.test("the status and signature after reset, and of an absent device 1", () => {
  using disk = machine(numbered(4));
  assertEquals(
    disk.low8(in8(STATUS), in8(ERROR), in8(COUNT), in8(LOW), in8(MID), in8(HIGH), in8(DEVICE)),
    [READY, 1, 1, 1, 0, 0, 0xa0],
  );
  // Device 0 answers for it: with a status of zero, and with its own other registers.
  assertEquals(
    disk.low8(out8(DEVICE, 0xb0), in8(STATUS), in8(CONTROL), in8(LOW), in8(DEVICE)),
    [0xb0, 0, 0, 1, 0xb0],
  );
  // A command for it is nobody's.
  assertEquals(disk.low8(out8(STATUS, 0xec), in8(STATUS), in16(DATA)), [0xec, 0, 0xff]);
  assertEquals(disk.low8(out8(DEVICE, 0xa0), in8(STATUS)), [0xa0, READY]);
  // But for EXECUTE DEVICE DIAGNOSTIC, which selects device 0.
  assertEquals(
    disk.low8(out8(DEVICE, 0xb0), out8(STATUS, 0x90), in8(STATUS), in8(ERROR), in8(DEVICE)),
    [0xb0, 0x90, READY, 1, 0xa0],
  );
});

Deno.test("a software reset is busy as long as SRST is set, and ends what is under way", () => {
  using disk = machine(numbered(4));
  assertEquals(
    disk.low8(
      ...command(0x20, 2),
      out8(CONTROL, 4),
      in8(CONTROL),
      out8(LOW, 9),
      out8(STATUS, 0x20),
      in8(STATUS),
      out8(CONTROL, 0),
      in8(STATUS),
      in8(LOW),
      in8(ERROR),
      in16(DATA),
    ).slice(7),
    [0x80, 9, 0x20, 0x80, 0, READY, 1, 1, 0xff],
  );
});

Deno.test("IDENTIFY DEVICE", () => {
  using disk = machine(numbered(4 * 16 * 63 + 5));
  const values = disk.run(...command(0xec), in8(STATUS), ...words(256), in8(STATUS), in16(DATA));
  assertEquals([values[6] & 0xff, values.at(-2)! & 0xff, values.at(-1)! & 0xffff], [
    DRQ,
    READY,
    0xffff,
  ]);
  const identify = values.slice(7, 7 + 256).map((value) => value & 0xffff);
  assertEquals([identify[1], identify[3], identify[6]], [4, 16, 63]);
  assertEquals(identify[60] + identify[61] * 65536, 4 * 16 * 63 + 5);
  assertEquals(identify[100], 4 * 16 * 63 + 5);
  assertEquals(identify[57] + identify[58] * 65536, 4 * 16 * 63);
  assertEquals(identify[83] & 0xc400, 0x4400);
  assertEquals(identify[49] & 0x300, 0x200);
  const model = identify.slice(27, 47).map((word) => String.fromCharCode(word >> 8, word & 0xff));
  assertEquals(model.join("").trim(), "VMEXIT DISK");
  assertEquals(identify.reduce((sum, word) => sum + (word & 0xff) + (word >> 8), 0) & 0xff, 0);
  // Two words at once.
  const wide = disk.run(...command(0xec), in32(DATA), in32(DATA)).slice(6);
  assertEquals(wide, [identify[0] + identify[1] * 65536, identify[2] + identify[3] * 65536]);
});

Deno.test("sectors by LBA of 28 and 48 bits and by CHS are the same", () => {
  using disk = machine(numbered(2 * 16 * 63));
  const first = (...accesses: Access[]) => disk.low8(...accesses, in16(DATA)).at(-1);
  assertEquals(first(...command(0x20, 70)), 70);
  assertEquals(first(...extended(0x24, 70)), 70);
  assertEquals(first(...command(0x21, 71)), 71);
  // Cylinder 1, head 2, sector 3.
  const chs = (code: number): Access[] => [
    out8(DEVICE, 0xa2),
    out8(COUNT, 1),
    out8(LOW, 3),
    out8(MID, 1),
    out8(HIGH, 0),
    out8(STATUS, code),
  ];
  assertEquals(first(...chs(0x20)), ((16 + 2) * 63 + 2) & 0xff);
  // Another geometry: 4 heads of 10 sectors.
  disk.run(out8(DEVICE, 0xa3), out8(COUNT, 10), out8(STATUS, 0x91));
  assertEquals(first(...chs(0x20)), ((4 + 2) * 10 + 2) & 0xff);
  // Sector 0 there is not.
  assertEquals(disk.low8(out8(LOW, 0), out8(STATUS, 0x20), in8(STATUS), in8(ERROR)).slice(2), [
    FAILED,
    0x10,
  ]);
  // Nor a CHS address for commands of 48 bits.
  assertEquals(disk.low8(out8(LOW, 1), out8(STATUS, 0x24), in8(STATUS), in8(ERROR)).slice(2), [
    FAILED,
    0x10,
  ]);
});

Deno.test("a count of zero is 256 sectors, and 65536 with 48 bits", () => {
  const verifies = (sectors: number) => {
    using disk = machine(numbered(sectors));
    return disk.low8(...command(0x40, 0, 0), in8(STATUS), in8(LOW)).slice(6);
  };
  assertEquals(verifies(256), [READY, 0]);
  assertEquals(verifies(255), [FAILED, 255]);
  using disk = machine(numbered(256));
  // The error comes with the first sector that there is not.
  assertEquals(
    disk.low8(...extended(0x42, 0, 0), in8(STATUS), in8(ERROR), in8(LOW), in8(MID)).slice(10),
    [FAILED, 0x10, 0, 1],
  );
});

Deno.test("READ and WRITE MULTIPLE transfer blocks, and are refused without SET MULTIPLE MODE", () => {
  const content = numbered(16);
  using disk = machine(content);
  assertEquals(disk.low8(...command(0xc4, 0, 3), in8(STATUS), in8(ERROR)).slice(6), [FAILED, 4]);
  for (const count of [3, 32]) {
    assertEquals(disk.low8(...command(0xc6, 0, count), in8(STATUS)).at(-1), FAILED);
  }
  assertEquals(disk.low8(...command(0xc6, 0, 2), in8(STATUS)).at(-1), READY);
  const identify = disk.run(...command(0xec), ...words(60));
  assertEquals(identify.at(-1)! & 0xffff, 0x102);
  // Three sectors are a block of two, and one of one.
  const values = disk.low8(...command(0xc4, 4, 3), ...words(3 * 256), in8(STATUS));
  assertEquals([values[6], values[6 + 512], values.at(-1)], [4, 6, READY]);
  const writes = Array.from({ length: 512 }, () => out16(DATA, 0xabab));
  assertEquals(
    disk.low8(...extended(0x39, 1, 2), in8(STATUS), ...writes, in8(STATUS)).at(-1),
    READY,
  );
  assertEquals(content.written, [1, 2]);
  assertEquals(content.bytes[2 * 512 + 511], 0xab);
});

Deno.test("a sector behind the end, and one that is bad, end a transfer where it met them", () => {
  const content = numbered(300);
  content.badSectors.add(10);
  using disk = machine(content);
  const failure = [in8(STATUS), in8(ERROR), in8(LOW), in8(MID), in8(HIGH), in8(DEVICE)];
  assertEquals(disk.low8(...command(0x20, 9, 3), ...words(256), ...failure).slice(-6), [
    FAILED,
    0x40,
    10,
    0,
    0,
    0xe0,
  ]);
  assertEquals(disk.low8(...command(0x20, 0x500_0000), ...failure).slice(-6), [
    FAILED,
    0x10,
    0,
    0,
    0,
    0xe5,
  ]);
  const sector = Array.from({ length: 256 }, () => out16(DATA, 0));
  assertEquals(
    disk.low8(...command(0x30, 299, 2), ...sector, ...sector, ...failure).slice(-6),
    [FAILED, 0x10, 300 & 0xff, 1, 0, 0xe0],
  );
  assertEquals(disk.low8(...command(0x30, 9, 2), ...sector, ...sector, in8(ERROR)).at(-1), 0x10);
  assertEquals(content.written, [299, 9]);
  // By HOB, the high half of 48 bits.
  assertEquals(
    disk.low8(...extended(0x24, 0x0605_0403_0201), out8(CONTROL, 0x80), ...failure.slice(2, 5)),
    [...disk.low8(...extended(0x24, 0x0605_0403_0201)), 0x80, 4, 5, 6],
  );
  // A write to the command block ends that.
  assertEquals(disk.low8(out8(COUNT, 0), in8(LOW)).at(-1), 1);
});

Deno.test("a disk that refuses writes aborts them", () => {
  const content = new Disk(512, { readonly: true });
  using disk = machine(content);
  assertEquals(disk.low8(...command(0x30), in8(STATUS), in8(ERROR)).slice(6), [FAILED, 4]);
});

Deno.test("SET FEATURES, FLUSH CACHE, and commands that there are not", () => {
  using disk = machine(numbered(4));
  const outcome = (code: number, feature: number, count = 0) =>
    disk.low8(out8(ERROR, feature), out8(COUNT, count), out8(STATUS, code), in8(STATUS)).at(-1);
  const identified = (word: number) =>
    disk.run(...command(0xec), ...words(word + 1)).at(-1)! & 0xffff;
  assertEquals(identified(85), 0x60);
  assertEquals(outcome(0xef, 0x82), READY);
  assertEquals(outcome(0xef, 0x55), READY);
  assertEquals(identified(85), 0);
  assertEquals(outcome(0xef, 0x03, 0x0c), READY);
  assertEquals(outcome(0xef, 0x03, 0x45), FAILED); // Ultra DMA
  assertEquals(outcome(0xef, 0x99), FAILED);
  for (const code of [0xe7, 0xea, 0x10, 0x70, 0xe0, 0xe1]) assertEquals(outcome(code, 0), READY);
  for (const code of [0x00, 0xa1, 0xc8, 0x25, 0xff]) assertEquals(outcome(code, 0), FAILED);
  assertEquals(disk.low8(out8(STATUS, 0xe5), in8(COUNT)).at(-1), 0xff);
});

Deno.test("nIEN keeps the interrupt from the line, and reading the status takes it back", () => {
  const lines: boolean[] = [];
  let asserted = false;
  const disk = new IdeDisk(numbered(4));
  // The line, as an interrupt controller sees it.
  using vm = bootAccesses({
    devices: [
      {
        name: "controller",
        attach: (board) =>
          board.connectInterruptController({
            setLine: (irq, level) => irq === 14 && void (asserted = level),
            hasInterrupt: false,
            acknowledge: () => 0,
          }),
      },
      disk,
    ],
  });
  const after = (...accesses: Access[]) => {
    perform(vm, accesses);
    lines.push(asserted);
  };
  after(...command(0xec));
  after(in8(CONTROL));
  after(out8(CONTROL, 2));
  after(out8(CONTROL, 0));
  after(out8(DEVICE, 0xf0));
  after(out8(DEVICE, 0xe0));
  after(in8(STATUS));
  // A write asks for its first block without an interrupt.
  after(...command(0x30));
  after(...Array.from({ length: 256 }, () => out16(DATA, 0)));
  disk.reset();
  lines.push(asserted);
  assertEquals(lines, [true, true, false, true, false, true, false, false, true, false]);
});

Deno.test("save and restore in the middle of a transfer", () => {
  const device = new IdeDisk(numbered(4));
  using vm = bootAccesses({ devices: [device] });
  perform(vm, [...command(0x20, 1, 2), ...words(255)]);
  const state = structuredClone(device.save());
  const rest = [in16(DATA), in16(DATA), in8(STATUS)];
  const values = perform(vm, rest);
  assertEquals(values.map((value) => value & 0xff), [1, 2, DRQ]);
  device.reset();
  assert(perform(vm, rest)[0] !== values[0]);
  device.restore(state);
  assertEquals(perform(vm, rest), values);
});
