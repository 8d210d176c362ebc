import { asm, boot, type BootOptions, expect, TimeLimitError } from "@vmexit/vmexit";
import {
  Bios,
  type BiosOptions,
  type BiosQuirks,
  Disk,
  TestClock,
  TextScreen,
} from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

/** Boots code with a BIOS and a screen. */
function withBios(
  source: Parameters<typeof boot>[0],
  options: BiosOptions = {},
  more: BootOptions = {},
) {
  const screen = new TextScreen();
  const bios = new Bios({ screen, ...options });
  const vm = boot(source, { devices: [screen, bios], ...more } as BootOptions);
  return { vm, bios, screen };
}

/** A disk whose sectors begin with their number. */
function numbered(sectors: number): Disk {
  const bytes = new Uint8Array(512 * sectors);
  for (let sector = 0; sector < sectors; sector++) {
    new DataView(bytes.buffer).setUint32(512 * sector, sector, true);
  }
  return new Disk(bytes);
}

Deno.test("INT 10h prints, moves the cursor, scrolls, and the screen shows it", () => {
  const { vm, bios, screen } = withBios(asm`
    mov ax, 3
    int 0x10
    mov si, text
  next:
    lodsb
    test al, al
    jz printed
    mov ah, 0x0e
    int 0x10
    jmp next
  printed:
    mov ah, 3
    int 0x10
    mov di, dx
    mov ah, 2
    mov dx, 0x0505
    int 0x10
    mov ax, 0x0941
    mov bx, 0x1e
    mov cx, 3
    int 0x10
    mov ah, 8
    int 0x10
    hlt
  text: db "Hello", 13, 10, "world", 8, "D", 7, 0
  `);
  using _vm = vm;
  vm.run();
  expect(vm).toHaveScreen(["Hello", "worlD", "", "", "", "     AAA"]);
  expect(vm).toHaveScreen("worlD");
  expect(vm).toHaveScreen(/^Hello$/m);
  expect(vm).not.toHaveScreen("bye");
  expect(vm).toHaveRegisters({ di: 0x0105, ax: 0x1e41 });
  assertEquals(screen.at({ row: 5, column: 6 }), {
    character: "A",
    foreground: "yellow",
    background: "blue",
    blink: false,
  });
  assertEquals(screen.cursor, { row: 5, column: 5 });
  assertEquals(bios.printed, "Hello\r\nworld\bD\x07");
  const { message } = assertThrows(() => expect(vm).toHaveScreen(["bye"]), Error);
  assertStringIncludes(message, "the screen\n    │Hello\n    │worlD");
});

Deno.test("what is printed below the last row scrolls the screen", () => {
  const { vm, bios } = withBios(asm`
    mov cx, 30
    mov al, 'A'
  again:
    mov ah, 0x0e
    int 0x10
    push ax
    mov ax, 0x0e0d
    int 0x10
    mov ax, 0x0e0a
    int 0x10
    pop ax
    inc al
    loop again
    mov ax, 0x0601
    mov bh, 7
    mov cx, 0
    mov dx, 0x184f
    int 0x10
    hlt
  `);
  using _vm = vm;
  vm.run();
  assertEquals(vm.screen.rows.slice(0, 3), ["H", "I", "J"]);
  assertEquals(vm.screen.rows[22], "^");
  assertEquals(bios.printed.length, 90);
});

const READ = asm`
  mov ax, 0x0202        ; two sectors
  mov cx, 0x0005        ; cylinder 0, sector 5
  mov dx, 0x0180        ; head 1, drive 0x80
  mov bx, 0x8000
  int 0x13
  sbb di, di
  hlt
`;

Deno.test("INT 13h reads by cylinder, head and sector", () => {
  const { vm, bios } = withBios(READ, { disks: { 0x80: numbered(2000) } });
  using _vm = vm;
  vm.run();
  expect(vm).toHaveRegisters({ ax: 2, di: 0 });
  assertEquals([vm.memory.u32(0x8000), vm.memory.u32(0x8200)], [63 + 4, 63 + 5]);
  assertEquals(bios.calls.map(({ name, isKnown, ax }) => [name, isKnown, ax]), [
    ["INT 13h AH=02h", true, 2],
  ]);
});

Deno.test("a call can be made to fail, or be answered by the test", () => {
  const failing = withBios(READ, { disks: { 0x80: numbered(2000) } });
  using vm = failing.vm;
  failing.bios.fails(0x13, 0x02, 0x04);
  vm.run();
  expect(vm).toHaveRegisters({ ah: 4, di: 0xffff });
  const answered = withBios(READ, { disks: { 0x80: numbered(2000) } });
  using other = answered.vm;
  answered.bios.on(0x13, (call) => {
    call.set("ax", 0x1234);
    call.carry = false;
    return true;
  });
  other.run();
  expect(other).toHaveRegisters({ ax: 0x1234, di: 0 });
});

Deno.test("sectors past the disk, drives that there are not and counts of 0 fail by their statuses", () => {
  const status = (registers: BootOptions["registers"], disks: BiosOptions["disks"]) => {
    const { vm } = withBios(
      asm`
        int 0x13
        sbb di, di
        hlt
      `,
      { disks },
      { registers },
    );
    using _vm = vm;
    vm.run();
    return [vm.registers.ah, vm.registers.di === 0xffff];
  };
  const disks = { 0: numbered(2880), 0x80: numbered(100) };
  const at = (ax: number, cx: number, dx: number) => status({ ax, cx, dx, bx: 0x8000 }, disks);
  assertEquals(at(0x0201, 0x0001, 0x0000), [0, false]);
  assertEquals(at(0x0201, 0x0013, 0x0000), [4, true]);
  assertEquals(at(0x0201, 0x5001, 0x0000), [4, true]);
  assertEquals(at(0x0200, 0x0001, 0x0000), [1, true]);
  assertEquals(at(0x0201, 0x0001, 0x0001), [0x80, true]);
  assertEquals(at(0x0201, 0x0001, 0x0081), [1, true]);
  assertEquals(at(0x7700, 0x0001, 0x0080), [1, true]);
  assertEquals(status({ ax: 0x0202, cx: 1, dx: 0, bx: 0xfe00 }, disks), [9, true]);
});

Deno.test("INT 13h AH=08h returns the number of drives in DL and, of a floppy disk, ES:DI", () => {
  const { vm } = withBios(
    asm`
      mov ah, 8
      mov dl, 0
      int 0x13
      mov si, dx
      mov bp, cx
      mov ah, 8
      mov dl, 0x80
      int 0x13
      hlt
    `,
    { disks: { 0: numbered(2880), 0x80: numbered(2000), 0x81: numbered(1) } },
  );
  using _vm = vm;
  vm.run();
  expect(vm).toHaveRegisters({ si: 0x0101, bp: 0x4f12, dx: 0x0f02, cx: 0x003f, es: 0xf000 });
});

const PACKET = asm`
  mov ah, 0x41
  mov bx, 0x55aa
  mov dl, 0x80
  int 0x13
  sbb bp, bp
  mov si, packet
  mov ah, 0x42
  int 0x13
  sbb di, di
  hlt
packet:
  db 16, 0
  dw 1, 0x8000, 0
  dq 1234
`;

Deno.test("the extensions read by LBA, unless the BIOS has none", () => {
  const run = (quirks: BiosQuirks) => {
    const { vm } = withBios(PACKET, { disks: { 0x80: numbered(2000) }, quirks });
    using _vm = vm;
    vm.run();
    const { bx, bp, di } = vm.registers;
    return { bx, hasThem: bp === 0, reads: di === 0, sector: vm.memory.u32(0x8000) };
  };
  assertEquals(run({}), { bx: 0xaa55, hasThem: true, reads: true, sector: 1234 });
  assertEquals(run({ hasNoExtensions: true }), {
    bx: 0x55aa,
    hasThem: false,
    reads: false,
    sector: 0,
  });
});

Deno.test("INT 13h writes, and the disk knows what was written", () => {
  const disk = numbered(100);
  const { vm } = withBios(
    asm`
      mov dword [0x8000], 0x12345678
      mov ax, 0x0301
      mov cx, 3
      mov dx, 0x80
      mov bx, 0x8000
      int 0x13
      hlt
    `,
    { disks: { 0x80: disk } },
  );
  using _vm = vm;
  vm.run();
  assertEquals(disk.written, [2]);
  assertEquals(new DataView(disk.bytes.buffer).getUint32(1024, true), 0x1234_5678);
});

const MAP = asm`
  mov di, 0x8000
  xor ebx, ebx
next:
  mov eax, 0xe820
  mov edx, 0x534d4150
  mov ecx, 24
  int 0x15
  jc done
  add di, 24
  test ebx, ebx
  jnz next
done:
  mov ax, 0xe801
  int 0x15
  hlt
`;

Deno.test("INT 15h tells the memory that there is, with the hole of a PC", () => {
  const { vm } = withBios(MAP, {}, { memory: "32M" });
  using _vm = vm;
  vm.run();
  const map = Array.from({ length: 4 }, (_, index) => {
    const at = 0x8000 + 24 * index;
    return [vm.memory.u64(at), vm.memory.u64(at + 8), vm.memory.u32(at + 16)];
  });
  assertEquals(map, [
    [0n, 0x9_fc00n, 1],
    [0x9_fc00n, 0x400n, 2],
    [0xf_0000n, 0x1_0000n, 2],
    [0x10_0000n, 0x1f0_0000n, 1],
  ]);
  expect(vm).toHaveRegisters({ ax: 0x3c00, bx: 0x100, di: 0x8060 });
  const old = withBios(MAP, { quirks: { hasNoE820: true } }, { memory: "8M" });
  using other = old.vm;
  other.run();
  expect(other).toHaveRegisters({ di: 0x8000, ax: 7 * 1024, bx: 0 });
});

Deno.test("INT 15h AH=87h moves blocks above 1 MiB, and AH=86h lets time pass", () => {
  const clock = new TestClock({ perExit: 0 });
  const { vm } = withBios(
    asm`
      mov dword [0x8000], 0x55667788
      mov cx, 2
      mov si, table
      mov ah, 0x87
      int 0x15
      mov cx, 1
      mov dx, 0
      mov ah, 0x86
      int 0x15
      hlt
    align 8
    table: dq 0, 0
      dw 0xffff, 0x8000
      db 0, 0x93, 0, 0
      dw 0xffff, 0
      db 0x20, 0x93, 0, 0
      dq 0, 0
    `,
    {},
    { memory: "4M", clock },
  );
  using _vm = vm;
  vm.run();
  assertEquals(vm.memory.u32(0x20_0000), 0x5566_7788);
  assertEquals(clock.nanoseconds, 65_536_000);
});

Deno.test("a wait of the BIOS's ends with the time limit of the run", () => {
  const { vm } = withBios(
    asm`
      mov cx, 0xffff
      mov dx, 0xffff
      mov ah, 0x86
      int 0x15
      hlt
    `,
    {},
    { timeout: 20 },
  );
  using _vm = vm;
  const start = performance.now();
  assertThrows(() => vm.run(), TimeLimitError);
  assert(performance.now() - start < 30_000);
});

Deno.test("INT 16h gives the keys that the test has typed, and one too many is an error", () => {
  const source = asm`
    mov ah, 1
    int 0x16
    setz bl
    mov ah, 0
    int 0x16
    mov di, ax
    mov ah, 0
    int 0x16
    hlt
  `;
  const { vm, bios } = withBios(source, { keys: "a" });
  using _vm = vm;
  bios.type("\n");
  vm.run();
  expect(vm).toHaveRegisters({ bl: 0, di: 0x1e61, ax: 0x1c0d });
  const silent = withBios(source);
  using other = silent.vm;
  assertThrows(() => other.run(), RangeError, "Type by bios.type(…)");
});

Deno.test("INT 1Ah tells the time, INT 11h and 12h what there is, INT 19h turns the power off", () => {
  const clock = new TestClock({ perExit: 0 });
  clock.advance(10e9);
  const { vm } = withBios(
    asm`
      mov ah, 0
      int 0x1a
      mov di, dx
      mov ah, 2
      int 0x1a
      mov si, cx
      mov ah, 4
      int 0x1a
      mov bp, cx
      int 0x12
      mov bx, ax
      int 0x11
      int 0x19
    `,
    { date: new Date(2026, 10, 28, 12, 34, 56), disks: { 0: numbered(1) } },
    { clock },
  );
  using _vm = vm;
  assertEquals(vm.run().reason, "SYSTEM_EVENT");
  const bcd = { di: 182, si: 0x1235, bp: 0x2026, dx: 0x1128, bx: 639 };
  expect(vm).toHaveRegisters({ ...bcd, ax: 0x0223 });
  // One serial port, and its base where loaders look for it.
  assertEquals(vm.memory.u16(0x400), 0x3f8);
});

Deno.test("a service that there is not fails by AH=86h, and is listed as unknown", () => {
  const { vm, bios } = withBios(asm`
    mov ax, 0x5300
    int 0x15
    sbb di, di
    hlt
  `);
  using _vm = vm;
  vm.run();
  expect(vm).toHaveRegisters({ ah: 0x86, di: 0xffff });
  assertEquals(bios.calls[0].isKnown, false);
});

Deno.test("quirks: IF on return, trashed registers, a drive that is not ready at once", () => {
  const flags = (quirks: BiosQuirks) => {
    const { vm } = withBios(
      asm`
        cli
        mov ah, 0x12
        int 0x12
        pushf
        pop di
        cli
        hlt
      `,
      { quirks },
    );
    using _vm = vm;
    vm.run();
    return (vm.registers.di & 0x200) !== 0;
  };
  assertEquals([flags({}), flags({ enablesInterrupts: true })], [false, true]);
  const trashing = withBios(
    asm`
      mov ecx, 0x11112222
      mov ax, 0x0e41
      int 0x10
      hlt
    `,
    { quirks: { trashesRegisters: true } },
  );
  using vm = trashing.vm;
  vm.run();
  expect(vm).toHaveRegisters({ ecx: 0xdead_2222, si: 0xdead });
  const slow = withBios(READ, { disks: { 0x80: numbered(2000) }, quirks: { failsReadsEvery: 1 } });
  using other = slow.vm;
  other.run();
  expect(other).toHaveRegisters({ ah: 0x80, di: 0xffff });
});

Deno.test("a handler of the guest's own stays, and with a fault catcher the services are the BIOS's", () => {
  const guest = asm`
    int 0x40
    mov ax, 0x0e41
    int 0x10
    hlt
  own:
    mov cx, 7
    iret
  `;
  const { vm, bios } = withBios(guest, {}, { gates: { 0x40: "own" }, catchFaults: true });
  using _vm = vm;
  vm.run();
  expect(vm).toHaveRegisters({ cx: 7 });
  assertEquals(bios.printed, "A");
});

Deno.test("what cannot be is refused", () => {
  assertThrows(() => new Bios({ disks: { 256: numbered(1) } }), RangeError, "0 to 0xff");
  assertThrows(() => new Bios({ keys: "é" }), RangeError, "US keyboard");
  assertThrows(() => new Bios({ date: "2000" as never }), TypeError, "give a Date");
  assertThrows(() => new Bios({ quirks: { failsReadsEvery: 0 } }), RangeError, "from 1 on");
  assertThrows(() => new TestClock({ perexit: 1 } as never), TypeError, "perExit");
  assertThrows(() => new Bios().on(0x21, () => true), RangeError, "0x10 to 0x1a");
  using vm = boot(
    asm`
    out 0xe3, al
    hlt
  `,
    { devices: [new Bios()] },
  );
  assertThrows(() => vm.run(), RangeError, "outside of its stubs");
  assertThrows(() => vm.screen, TypeError, "the machine has none");
  const { vm: other } = withBios(asm`hlt`);
  using _other = other;
  other.run();
  assertThrows(() => expect(other).toHaveScreen(""), RangeError, "every screen does");
  assertThrows(() => expect(other).toHaveScreen(/.*/), RangeError, "every screen does");
  assertThrows(() => expect(other).toHaveScreen(5 as never), TypeError, "number");
  expect(other).toHaveScreen([""]);
  assert(other.screen.text === "");
});

Deno.test("options and failures of a BIOS that there are not are refused", () => {
  const make = (options: unknown) => () => void new Bios(options as never);
  assertThrows(make({ disk: {} }), TypeError, "the nearest are disks");
  assertThrows(make({ quirks: { hasNoExtension: true } }), TypeError, "are hasNoExtensions");
  assertThrows(make({ disks: { 0x80: new Uint8Array(512) } }), TypeError, "new Disk(bytes)");
  const bios = new Bios();
  assertThrows(() => bios.fails(0x13, 0x02, 0), RangeError, "that is success");
  assertThrows(() => bios.fails(0x13, 0x102, 1), RangeError, "AH takes");
  assertThrows(() => bios.fails(0x13, 0x02, 1, NaN), RangeError, "from 1 on");
});
