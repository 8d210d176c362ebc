import { asm, boot, type BootOptions, HostError, Image } from "@vmexit/vmexit";
import { openHandles } from "@vmexit/vmexit/kvm";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { injected } from "../injected_libc.ts";

const HLT = new Uint8Array([0xf4]);
const hlt = (origin = 0x500) => Image.fromBytes(HLT, { origin });

/** A libc that must not be asked for anything: bad input is found before the kernel is. */
function untouched(): BootOptions {
  const refuse = () => {
    throw new Error("the kernel was asked");
  };
  return { libc: injected(() => ({ open: refuse, ioctl: refuse, ioctlBuffer: refuse })) };
}

Deno.test("a guest starts in real mode at 0x500, or in long mode where it says bits 64", () => {
  using real = boot(asm`hlt`);
  assertEquals(
    [real.mode, real.registers.rip, real.image.origin],
    ["real", 0x500n, 0x500n] as unknown[],
  );
  using long = boot(asm`
    bits 64
    hlt
  `);
  assertEquals([long.mode, long.registers.rip], ["long", 0x10000n] as unknown[]);
});

Deno.test("origin: the guest is assembled for it and lies there", () => {
  using vm = boot(
    asm`
      mov si, message
      lodsb
      hlt
    message: db 0x42
    `,
    { origin: 0x7c00 },
  );
  assertEquals(vm.image.symbol("message"), 0x7c05n);
  vm.run();
  assertEquals([vm.registers.al, vm.memory.u8(0x7c05)], [0x42, 0x42]);
});

Deno.test("an org in the source has the last word on the origin", () => {
  using vm = boot(asm`
    org 0x8000
    mov si, message
    lodsb
    hlt
  message: db 0x43
  `);
  assertEquals([vm.image.origin, vm.registers.rip], [0x8000n, 0x8000n] as unknown[]);
  vm.run();
  assertEquals(vm.registers.al, 0x43);
});

Deno.test("entry: a label or an address; else _start; else the origin", () => {
  const source = () =>
    asm`
      mov al, 1
      hlt
    second:
      mov al, 2
      hlt
    `;
  using first = boot(source());
  using label = boot(source(), { entry: "second" });
  using address = boot(source(), { entry: 0x503 });
  using start = boot(asm`
    mov al, 1
    hlt
  _start:
    mov al, 3
    hlt
  `);
  const machines = [first, label, address, start];
  for (const vm of machines) vm.run();
  assertEquals(machines.map(({ registers }) => registers.al), [1, 2, 2, 3]);
  assertThrows(
    () => boot(source(), { entry: "third" }),
    RangeError,
    "Cannot find the symbol third",
  );
});

Deno.test("cs and ip: the guest is assembled for offsets in its segment, and lies in it", () => {
  using vm = boot(
    asm`
      mov al, [cs:message]
      hlt
    message: db 0x44
    `,
    { cs: 0x7c0 },
  );
  assertEquals([vm.registers.cs.base, vm.registers.rip], [0x7c00n, 0n]);
  assertEquals(vm.memory.u8(0x7c05), 0x44);
  vm.run();
  assertEquals(vm.registers.al, 0x44);
});

Deno.test("cs with ip, with a label to start at, and with an image that lies where it says", () => {
  using offset = boot(
    asm`
    mov al, [cs:message]
    hlt
  message: db 0x45
  `,
    { cs: 0x1000, ip: 0x100 },
  );
  assertEquals(offset.image.origin, 0x100n);
  assertEquals(offset.memory.u8(0x10105), 0x45);
  using label = boot(
    asm`
      db 0, 0
    _start:
      mov al, 0x46
      hlt
    `,
    { cs: 0x1000 },
  );
  assertEquals(label.registers.rip, 2n);
  using image = boot(hlt(0x7c00), { cs: 0x7c0 });
  assertEquals([image.registers.rip, image.memory.u8(0x7c00)], [0n, 0xf4] as unknown[]);
  for (const vm of [offset, label, image]) assertEquals(vm.run().reason, "HLT");
  assertEquals([offset.registers.al, label.registers.al], [0x45, 0x46]);
});

Deno.test("load: the guest lies elsewhere than at its linear addresses", () => {
  using vm = boot(
    asm`
      bits 64
      mov al, [message]
      hlt
    message: db 0x47
    `,
    {
      mode: "long",
      origin: 0x40_0000,
      load: 0x20000,
      mappings: [{ linear: 0x40_0000, physical: 0x20000, size: 0x1000 }],
    },
  );
  vm.run();
  assertEquals([vm.registers.al, vm.memory.u8(0x20000 + 8)], [0x47, 0x47]);
});

Deno.test("every segment register, the stack and other registers can be chosen", () => {
  using vm = boot(
    asm`
      push word 0x1234
      mov al, [0]
      mov bl, [es:0]
      hlt
    `,
    { ds: 0x1000, es: 0x1100, ss: 0x2000, sp: 0x100, registers: { ecx: 7 } },
  );
  vm.memory.setU8(0x10000, 1);
  vm.memory.setU8(0x11000, 2);
  vm.run();
  const { al, bl, ecx } = vm.registers;
  assertEquals([al, bl, ecx, vm.memory.u16(0x200fe)], [1, 2, 7, 0x1234]);
});

Deno.test("memory: a size as a number or with a unit", () => {
  using small = boot(hlt(), { memory: "4K" });
  using large = boot(hlt(), { memory: 3 * 4096 });
  assertEquals(small.memory.slots.map(({ bytes }) => bytes.length), [4096]);
  assertEquals(large.memory.slots.map(({ bytes }) => bytes.length), [3 * 4096]);
});

Deno.test("what cannot be booted is refused with what can", () => {
  for (const guest of ["hlt", undefined, null, HLT]) {
    assertThrows(() => boot(guest as never, untouched()), TypeError, "Image.fromBytes");
  }
});

Deno.test("a mode that does not exist", () => {
  for (const mode of ["protectd", "Real", "", "constructor"]) {
    assertThrows(
      () => boot(hlt(), { ...untouched(), mode: mode as "real" }),
      RangeError,
      `Cannot boot in mode "${mode}": there is none of that name. The modes are real, unreal, protected16, protected, paged, pae, virtual8086, compatibility, long.`,
    );
  }
});

Deno.test("an option that no mode has, or another, is refused", () => {
  const misspelt = { memroy: "4K" } as BootOptions;
  assertThrows(
    () => boot(asm`hlt`, misspelt),
    TypeError,
    "Cannot boot with the option memroy: there is none of that name; the nearest are memory",
  );
  const ofOthers = { mode: "real", levels: 5 } as BootOptions;
  assertThrows(
    () => boot(asm`hlt`, ofOthers),
    TypeError,
    "Cannot boot mode real with the option levels: it is one of compatibility, long",
  );
});

Deno.test("memory of a size that cannot be", () => {
  const sizes: [BootOptions["memory"], string][] = [
    ["0", 'Cannot read "0" as a size'],
    [-4096, "Cannot read -4096 as a size"],
    ["4 KB", 'Cannot read "4 KB" as a size'],
    ["", 'Cannot read "" as a size'],
    [NaN, "as a size"],
    [4097, "Cannot make the main memory 4097 bytes large: it is not a multiple of 4096"],
    ["1", "it is not a multiple of 4096"],
  ];
  for (const [memory, message] of sizes) {
    assertThrows(() => boot(hlt(), { ...untouched(), memory }), RangeError, message);
  }
});

Deno.test("memory larger than the host has", () => {
  const host = injected(() => ({ sysconf: () => 256 }));
  assertThrows(
    () => boot(hlt(), { libc: host, memory: "2M" }),
    HostError,
    "Cannot give the machine 2097152 bytes of memory: this host has 1048576. Ask for less with the `memory` option.",
  );
  assertThrows(
    () => boot(hlt(), { libc: host, memory: "512K", slots: [{ gpa: 0x100000, size: "1M" }] }),
    HostError,
  );
  using _vm = boot(hlt(), { libc: host, memory: "1M" });
  using unknown = boot(hlt(), { libc: injected(() => ({ sysconf: () => -1 })) });
  assertEquals(unknown.run().reason, "HLT");
});

Deno.test("slots that overlap, or are no slots", () => {
  const refused: [BootOptions["slots"], string][] = [
    [
      [{ gpa: 0xff000, size: "8K" }],
      "Cannot place slots[0] at 0xff000–0x100fff: it overlaps the main memory at 0x0–0xfffff",
    ],
    [
      [{ gpa: 0x200000, size: "8K" }, { gpa: 0x201000, size: "4K" }],
      "Cannot place slots[1] at 0x201000–0x201fff: it overlaps slots[0]",
    ],
    [[{ gpa: 0xfeff_c000, size: "4K" }], "the pages that KVM takes on Intel processors"],
    [[{ gpa: 0x200001, size: "4K" }], "Cannot place slots[0]"],
    [[{ gpa: -4096, size: "4K" }], "Cannot place slots[0]"],
    [[{ gpa: 2 ** 52, size: "4K" }], "Cannot place slots[0]"],
    [[{ gpa: 0x200000, size: 100 }], "Cannot make slots[0] 100 bytes large"],
    [
      [{ gpa: 0x200000, size: "4K", content: new Uint8Array(4097) }],
      "Cannot fill slots[0] with 4097 bytes: it has 4096",
    ],
  ];
  for (const [slots, message] of refused) {
    assertThrows(() => boot(hlt(), { ...untouched(), slots }), RangeError, message);
  }
});

Deno.test("an image larger than its memory", () => {
  const before = openHandles();
  const large = Image.fromBytes(new Uint8Array(4096), { origin: 0x500 });
  assertThrows(
    () => boot(large, { memory: "4K" }),
    RangeError,
    "Cannot load 4096 bytes of the guest at linear 0x500: they do not fit the machine's memory. Give it more with the `memory` option",
  );
  assertThrows(
    () => boot(hlt(), { load: 0x100000 }),
    RangeError,
    "Cannot load 1 bytes of the guest at physical 0x100000",
  );
  assertEquals(openHandles(), before);
});

Deno.test("options that are out of range leave nothing open", () => {
  const before = openHandles();
  const refused: [BootOptions, string][] = [
    [{ recordExits: 0 }, "Cannot record 0 exits"],
    [{ recordExits: 1.5 }, "Cannot record 1.5 exits"],
    [{ recordExits: 2 ** 21 }, "it is not a whole number from 1 to 1048576"],
    [
      { exitPort: 0x10000 },
      "Cannot boot with exitPort 65536: it is not a whole number from 0 to 0xffff",
    ],
    [{ exitPort: 0x3f8 }, "COM1 has 0x3f8 to 0x3ff already"],
    [{ registers: { al: 256 } }, "Cannot set al as 0x100"],
    [{ registers: { foo: 1 } as never }, 'Cannot find a register "foo"'],
    [{ ds: 0x10000 }, "Cannot set ds"],
    [{ entry: -1 }, "Cannot use -1 as the guest's entry"],
    [{ entry: 0x110000 }, "Cannot start real mode at 0x110000"],
    [{ cs: 0, ip: 0x10000 }, "Cannot set ip"],
    [{ timeout: 0 }, "Cannot limit a run"],
  ];
  for (const [options, message] of refused) {
    assertThrows(() => boot(hlt(), options), RangeError, message, message);
  }
  assertEquals(openHandles(), before);
});

Deno.test("no serial line where none is asked for", () => {
  using vm = boot(
    asm`
    mov dx, 0x3f8
    out dx, al
    hlt
  `,
    { serial: false },
  );
  assertThrows(() => vm.serial, TypeError, "booted with `serial: false`");
  assertThrows(() => vm.run(), Error, "IO out 0x3f8");
  assert(!vm.hasSerial);
});

Deno.test("recordExits bounds the log, which says what it dropped", () => {
  using vm = boot(
    asm`
      mov cx, 10
    again:
      mov al, cl
      out 0x10, al
      loop again
      hlt
    `,
    { recordExits: 4 },
  );
  vm.ports.on(0x10, { write() {} });
  vm.run();
  assertEquals([vm.log.total, vm.log.dropped], [11, 7]);
  assertEquals(vm.log.records().map(({ number, value }) => [number, value]), [
    [8, 3n],
    [9, 2n],
    [10, 1n],
    [11, undefined],
  ]);
});

Deno.test("the interrupt controller in the kernel answers its ports itself", () => {
  using vm = boot(
    asm`
    mov al, 0x5a
    out 0x21, al
    xor al, al
    in  al, 0x21
    out 0x10, al
  `,
    { irqchip: true },
  );
  assertThrows(() => vm.run(), Error, "IO out 0x10 byte 0x5a");
  assertEquals(vm.log.total, 1);
});

Deno.test("an error about what the test gave begins at the line of the test", () => {
  for (const guest of [() => boot(asm`mov al, nowhere`), () => boot(asm`hlt`, { memory: "3K" })]) {
    const error = assertThrows(guest, Error);
    const [frame] = error.stack!.split("\n").filter((line) => line.startsWith("    at "));
    assertStringIncludes(frame, "boot_test.ts");
  }
});

Deno.test("source that begins with code of another width than its mode's is refused", () => {
  const wide = asm`
    bits 64
    hlt
  `;
  assertThrows(
    () => boot(wide, { mode: "protected" }),
    RangeError,
    'Cannot boot source with `bits 64` in mode "protected": the CPU would take it for code of 32 bits.',
  );
  const mixed = asm`
    bits 64
    nop
    bits 32
  start:
    hlt
  `;
  using vm = boot(mixed, { mode: "protected", entry: "start" });
  assertEquals(vm.run().reason, "HLT");
});
