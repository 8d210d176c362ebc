import { boot, type BootOptions, expect, hlt, Image, portOut } from "@vmexit/vmexit";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { flat } from "./linked.ts";

const text = (written: string) => [...written].map((each) => portOut(0x10, each));
const dwords = (...values: number[]) => values.map((value) => portOut(0x10, value, 4));

/**
 * What a bzImage is made of: a boot sector with the setup header (protocol 2.15), a sector of setup, and the
 * protected-mode kernel, with its 32-bit entry at 0 and its 64-bit entry at 0x200. The kernel reports what the zero page
 * says.
 */
const source = (
  { xloadflags = 1, code32 = 0x10_0000, version = 0x20f, relocatable = 1, pref = 0x100_0000 } = {},
) => `
  times 0x1f1 db 0
  db 1                        ; setup_sects
  dw 0
  dd (kernel_end - kernel) / 16
  dw 0, 0, 0
  dw 0xaa55                   ; boot_flag
  db 0xeb, header_end - $ - 2 ; jump
  db "HdrS"
  dw ${version}
  dd 0
  dw 0, 0
  db 0                        ; type_of_loader
  db 1                        ; loadflags: LOADED_HIGH
  dw 0
  dd ${code32}                ; code32_start
  dd 0, 0, 0
  dw 0
  db 0, 0
  dd 0                        ; cmd_line_ptr
  dd 0x1fffff                 ; initrd_addr_max
  dd 0x200000                 ; kernel_alignment
  db ${relocatable}, 21
  dw ${xloadflags}
  dd 255                      ; cmdline_size
  dd 0
  dq 0
  dd 0, 0
  dq 0
  dq ${pref}
  dd 0x10000                  ; init_size
  dd 0, 0
header_end:
  bits 16                     ; the set-up code
  mov dx, 0x10
  mov ax, cs
  out dx, ax
  mov ax, ds
  out dx, ax
  mov ax, ss
  out dx, ax
  mov ax, sp
  out dx, ax
  mov ax, [0x210]             ; type_of_loader, loadflags
  out dx, ax
  mov ax, [0x224]             ; heap_end_ptr
  out dx, ax
  mov eax, [0x214]            ; code32_start
  out dx, eax
  mov eax, [0x21c]            ; ramdisk_size
  out dx, eax
  mov eax, [0x218]            ; ramdisk_image
  out dx, eax
  mov ebx, [0x228]            ; cmd_line_ptr
  sub ebx, 0x90000
.argument:
  mov al, [bx]
  test al, al
  jz .set_up
  out dx, al
  inc bx
  jmp .argument
.set_up:
  hlt
  times 1024 - ($ - $$) db 0
kernel:
  bits 32
  mov edx, 0x10
  mov eax, 32
  out dx, eax
  mov eax, cs
  out dx, eax
  mov eax, ds
  out dx, eax
  mov ds, eax                 ; the descriptors are there
  jmp 0x10:${pref === 0 || relocatable === 0 ? 0x10_0000 : pref} + reported - kernel
reported:
  movzx eax, byte [esi + 0x210]
  out dx, eax                 ; type_of_loader
  mov ebx, [esi + 0x228]      ; cmd_line_ptr
.text:
  mov al, [ebx]
  test al, al
  jz .initrd
  out dx, al
  inc ebx
  jmp .text
.initrd:
  mov eax, [esi + 0x218]      ; ramdisk_image
  out dx, eax
  mov ecx, [esi + 0x21c]      ; ramdisk_size
  mov ebx, eax
  jecxz .e820
.byte:
  mov al, [ebx]
  out dx, al
  inc ebx
  dec ecx
  jnz .byte
.e820:
  movzx ecx, byte [esi + 0x1e8]
  lea ebx, [esi + 0x2d0]
.entry:
  mov eax, [ebx]
  out dx, eax
  mov eax, [ebx + 8]
  out dx, eax
  mov eax, [ebx + 16]
  out dx, eax
  add ebx, 20
  dec ecx
  jnz .entry
  hlt
  times 0x200 - ($ - kernel) db 0x90
  bits 64
  mov edx, 0x10
  mov eax, 64
  out dx, eax
  mov eax, cs
  out dx, eax
  mov eax, ds
  out dx, eax
  push rax
  hlt
kernel_end:
`;

const report = [
  ...dwords(0xff),
  ...text("console=ttyS0"),
  ...dwords(0x1f_f000),
  ...text("cpio"),
  ...dwords(0, 0x9_fc00, 1),
  ...dwords(0x10_0000, 0x1f0_0000, 1),
  ...dwords(0xfeff_c000, 0x4000, 2),
  hlt(),
];
const KERNEL = { commandLine: "console=ttyS0", initrd: "cpio" };

Deno.test("a Linux kernel is entered by the 32-bit protocol where it has no other, or is asked to", () => {
  const only32 = Image.fromFile(flat(source({ xloadflags: 0 })));
  assertStringIncludes(only32.description, "Linux kernel (boot protocol 2.15), 0x1000000–");
  using vm = boot(only32, { memory: "32M", kernel: KERNEL });
  expect(vm).toHaveRegisters({ ebx: 0, ebp: 0, edi: 0, "rflags.if": false, "cr0.pg": false });
  expect(vm).toExit([...dwords(32, 0x10, 0x18), ...report]);
  const both = Image.fromFile(flat(source()));
  using asked = boot(both, { mode: "protected", memory: "32M", kernel: KERNEL });
  expect(asked).toExit([...dwords(32, 0x10, 0x18), ...report]);
});

Deno.test("a Linux kernel with a 64-bit entry is entered there", () => {
  const image = Image.fromFile(flat(source()));
  assertEquals([image.kind, image.bits, image.entry], ["linux", 64, 0x100_0200n]);
  using vm = boot(image, { memory: "32M", registers: { rsp: 0x8000 } });
  expect(vm).toHaveRegisters({ "efer.lma": true, "cs.l": 1, "rflags.if": false });
  expect(vm).toExit([...dwords(64, 0x10, 0x18), hlt()]);
});

Deno.test("a Linux kernel's set-up code is entered in real mode, with what a loader tells it", () => {
  const words = (...values: number[]) => values.map((value) => portOut(0x10, value, 2));
  const told = (code32: number) => [
    ...words(0x9020, 0x9000, 0x9000, 0xe000, 0x81ff, 0xde00),
    ...dwords(code32, 4, 0x1f_f000),
    ...text("console=ttyS0"),
    hlt(),
  ];
  const image = Image.fromFile(flat(source()));
  using asked = boot(image, { mode: "real", memory: "32M", kernel: KERNEL });
  expect(asked).toHaveRegisters({ "cr0.pe": false, "rflags.if": false, ip: 0 });
  expect(asked).toExit(told(0x100_0000));
  const only16 = Image.fromFile(flat(source({ xloadflags: 0, code32: 0, relocatable: 0 })));
  assertEquals([only16.bits, only16.origin], [16, 0x10_0000n]);
  using other = boot(only16, { memory: "32M", kernel: KERNEL });
  expect(other).toExit(told(0));
  const boots = (image: Image, options: BootOptions) => () => void boot(image, options);
  const memory = "32M";
  assertThrows(boots(only16, { memory, mode: "protected" }), TypeError, "it starts in mode real");
  const kernel = { rsdp: 0xe_0000 };
  assertThrows(boots(image, { memory, mode: "real", kernel }), TypeError, "kernel.rsdp");
  const old = Image.fromFile(flat(source({ version: 0x201 })));
  assertThrows(boots(old, { memory, mode: "real" }), RangeError, "0x201, below 2.02");
});

Deno.test("a Linux kernel that cannot be moved is loaded at its code32_start", () => {
  const image = Image.fromFile(flat(source({ xloadflags: 0, relocatable: 0 })));
  assertEquals(image.origin, 0x10_0000n);
  using vm = boot(image, { memory: "32M", kernel: KERNEL });
  expect(vm).toExit([...dwords(32, 0x10, 0x18), ...report]);
  const old = Image.fromFile(flat(source({ xloadflags: 0, version: 0x206 })));
  assertEquals(old.origin, 0x10_0000n);
});

Deno.test("a Linux kernel's limits are kept: the command line's length, the initrd's end, its own room", () => {
  const image = Image.fromFile(flat(source()));
  const boots = (kernel: object, memory = "32M") => () => void boot(image, { memory, kernel });
  assertThrows(boots({ commandLine: "x".repeat(256) }), RangeError, "cmdline_size is 255");
  assertThrows(boots({ initrd: new Uint8Array(0x10_0001) }), RangeError, "Cannot place the initrd");
  assertThrows(boots({}, "16M"), RangeError, "memory");
  assertThrows(boots({ modules: [] }), TypeError, "takes commandLine, initrd, rsdp");
});

const valid = flat(source());
const patched = (offset: number, ...bytes: number[]) => {
  const file = valid.slice();
  file.set(bytes, offset);
  return file;
};
const REFUSED: [what: string, file: Uint8Array, message: string][] = [
  ["without its signature", patched(0x1fe, 0), "`boot_flag` is 0xaa00, not 0xaa55"],
  ["of version 1", patched(0x206, 0, 1), "`version` of its boot protocol is 0x100, below 2.00"],
  ["a zImage", patched(0x211, 0), "`loadflags` has LOADED_HIGH clear"],
  ["cut behind its setup", valid.slice(0, 1024), "`setup_sects` is 1"],
  ["cut in its setup", valid.slice(0, 0x220), "`jump` says that the setup header ends"],
  ["cut before its 64-bit entry", valid.slice(0, 1024 + 0x200), "`xloadflags` says"],
  ["to be loaded above 4 GiB", patched(0x25c, 1), "`pref_address` is 0x101000000, above 4 GiB"],
];
for (const [what, file, message] of REFUSED) {
  Deno.test(`a Linux kernel that is ${what} is refused`, () => {
    assertThrows(() => Image.fromFile(file), RangeError, message);
  });
}
