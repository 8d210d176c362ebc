import { boot, type BootOptions, expect, hlt, Image, portOut } from "@vmexit/vmexit";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AT_1_MIB, compiled, flat, linked } from "./linked.ts";

/**
 * A kernel that looks at what it was given by itself: each step goes to port 0x10, as a byte, or a dword where that says
 * more. ebx has the information structure's address.
 */
const MULTIBOOT_BODY = `
_start:
  mov esp, stack
  mov edx, 0x10
  out dx, eax                 ; the loader's magic
  mov eax, [ebx]
  out dx, eax                 ; flags
  mov eax, [ebx + 4]
  out dx, eax                 ; mem_lower
  mov eax, [ebx + 8]
  out dx, eax                 ; mem_upper
  mov esi, [ebx + 16]
  call print                  ; command line
  mov esi, [ebx + 64]
  call print                  ; boot_loader_name
  mov ecx, [ebx + 20]         ; mods_count
  mov edi, [ebx + 24]         ; mods_addr
  jecxz .map
.module:
  mov esi, [edi]
  call print                  ; its content, which ends in a NUL here
  mov eax, [edi + 4]
  sub eax, [edi]
  out dx, eax                 ; its length
  mov esi, [edi + 8]
  call print                  ; its command line
  add edi, 16
  loop .module
.map:
  mov edi, [ebx + 48]         ; mmap_addr
  mov ecx, edi
  add ecx, [ebx + 44]         ; mmap_length
.entry:
  mov eax, [edi + 4]
  out dx, eax                 ; base
  mov eax, [edi + 12]
  out dx, eax                 ; length
  mov eax, [edi + 20]
  out dx, eax                 ; type
  add edi, [edi]
  add edi, 4
  cmp edi, ecx
  jb .entry
  hlt
print:
  lodsb
  test al, al
  jz .done
  out dx, al
  jmp print
.done:
  ret
`;

const HEADER = `
  bits 32
  section .header
  align 4
  dd 0x1badb002, 3, -(0x1badb002 + 3)
  section .text
  global _start
`;

const STACK = `
  section .bss
  resb 256
stack:
`;

const text = (written: string) => [...written].map((each) => portOut(0x10, each));
const dwords = (...values: number[]) => values.map((value) => portOut(0x10, value, 4));

/** What the kernel above reports of a machine of 2 MiB. */
function report(flags: number) {
  return [
    ...dwords(0x2bad_b002, flags, 639, 1024),
    ...text("root=/dev/x quiet"),
    ...text("vmexit"),
    ...text("first"),
    ...dwords(6),
    ...text("one 1"),
    ...text("second"),
    ...dwords(7),
    ...dwords(0, 0x9_fc00, 1),
    ...dwords(0x10_0000, 0x10_0000, 1),
    ...dwords(0xfeff_c000, 0x4000, 2),
    hlt(),
  ];
}

const KERNEL: BootOptions = {
  memory: "2M",
  kernel: {
    commandLine: "root=/dev/x quiet",
    modules: [{ content: "first\0", commandLine: "one 1" }, { content: "second\0" }],
  },
};

Deno.test("a multiboot kernel in ELF is entered as the specification says, with all that it is told", () => {
  const image = Image.fromFile(
    linked(HEADER + MULTIBOOT_BODY + STACK, { format: "elf32", script: AT_1_MIB }),
  );
  assertEquals(image.kind, "multiboot");
  assertStringIncludes(image.description, "multiboot kernel (ELF, 32 bits), 0x100000–");
  using vm = boot(image, KERNEL);
  expect(vm).toHaveRegisters({ cr0: 0x31n, cr4: 0n, "cs.base": 0n, "rflags.if": false });
  expect(vm).toExit(report(0x26d));
});

Deno.test("a multiboot kernel in ELF64 is entered in 32 bits, too", () => {
  const image = Image.fromFile(
    linked(HEADER + MULTIBOOT_BODY + STACK, { format: "elf64", script: AT_1_MIB }),
  );
  assertStringIncludes(image.description, "multiboot kernel (ELF, 64 bits)");
  using vm = boot(image, KERNEL);
  expect(vm).toExit(report(0x26d));
});

Deno.test("a multiboot kernel without ELF is loaded by its address fields, and told of its screen", () => {
  const file = flat(`
    bits 32
    org 0x100000
  header:
    dd 0x1badb002, 0x10007, -(0x1badb002 + 0x10007)
    dd header, 0x100000, end, bss_end, _start, 1, 80, 25, 0
  ${MULTIBOOT_BODY}
  end:
  stack equ end + 256
  bss_end equ stack
  `);
  const image = Image.fromFile(file);
  assertStringIncludes(image.description, "multiboot kernel (address fields), 0x100000–");
  assertEquals(image.size, file.length + 256);
  using vm = boot(image, KERNEL);
  const info = vm.registers.ebx;
  assertEquals(vm.memory.u64(info + 88), 0xb_8000n);
  assertEquals([96, 100, 104].map((at) => vm.memory.u32(info + at)), [160, 80, 25]);
  assertEquals([...vm.memory.read(info + 108, 2)], [16, 2]);
  expect(vm).toExit(report(0x124d));
});

/** The tags of multiboot 2, one after the other: type, size, and the dwords of those without text. */
const MULTIBOOT2_BODY = `
_start:
  mov edx, 0x10
  out dx, eax
  mov eax, ebx
  add eax, [ebx]
  mov ebp, eax                ; the end, by total_size
  lea edi, [ebx + 8]
.tag:
  mov eax, [edi]
  out dx, eax                 ; type
  mov ecx, [edi + 4]
  cmp eax, 0
  je .end
  cmp eax, 3
  ja .next
  lea esi, [edi + 8]
  jb .text
  mov esi, [edi + 8]          ; a module's content
  mov al, [esi]
  out dx, al
  lea esi, [edi + 16]
.text:
  lodsb
  test al, al
  jz .next
  out dx, al
  jmp .text
.next:
  add ecx, 7
  and ecx, ~7
  add edi, ecx
  jmp .tag
.end:
  add edi, 8
  sub edi, ebp
  mov eax, edi
  out dx, eax                 ; nothing is left
  hlt
`;

const HEADER2 = `
  bits 32
  section .header
  align 8
header:
  dd 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
  dw 1, 0
  dd 16, 1, 6                 ; the command line and the memory map are needed
  dw 4, 1
  dd 12, 3
  dd 0
  dw 0, 0
  dd 8
header_end:
  section .text
  global _start
`;

function report2(...tail: number[]) {
  return [
    ...dwords(0x36d7_6289, 1),
    ...text("quiet"),
    ...dwords(2),
    ...text("vmexit"),
    ...dwords(3),
    ...text("D"),
    ...text("disk"),
    ...dwords(4, 6, ...tail, 0, 0),
    hlt(),
  ];
}

const KERNEL2: BootOptions = {
  memory: "64M",
  kernel: { commandLine: "quiet", modules: [{ content: "D", commandLine: "disk" }] },
};

for (const format of ["elf32", "elf64"] as const) {
  Deno.test(`a multiboot 2 kernel in ${format} gets its tags, each at a multiple of 8`, () => {
    const image = Image.fromFile(
      linked(HEADER2 + MULTIBOOT2_BODY, { format, script: AT_1_MIB }),
    );
    assertEquals(image.kind, "multiboot2");
    using vm = boot(image, KERNEL2);
    assertEquals(vm.registers.ebx % 8, 0);
    expect(vm).toExit(report2(8, 9));
  });
}

Deno.test("a multiboot 2 kernel without ELF is loaded by its address tag", () => {
  const file = flat(`
    bits 32
    org 0x200000
    times 16 db 0
  header:
    dd 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
    dw 2, 0
    dd 24, header, 0x200008, 0, end + 4096
    dw 3, 0
    dd 12, _start
    dd 0
    dw 0, 0
    dd 8
  header_end:
  ${MULTIBOOT2_BODY}
  end:
  `);
  const image = Image.fromFile(file);
  assertEquals([image.kind, image.origin], ["multiboot2", 0x20_0008n]);
  using vm = boot(image, KERNEL2);
  expect(vm).toExit(report2());
});

const PVH = `
  bits 32
  section .note.Xen note alloc noexec nowrite align=4
  dd 4, 4, 18
  db "Xen", 0
  dd start32
  section .text
  global _start
_start:
  ud2
start32:
  mov esp, stack
  mov edx, 0x10
  mov eax, [ebx]
  out dx, eax                 ; magic
  mov eax, [ebx + 4]
  out dx, eax                 ; version
  mov esi, [ebx + 24]
  call print                  ; command line
  mov eax, [ebx + 12]
  out dx, eax                 ; nr_modules
  mov edi, [ebx + 16]
  mov esi, [edi]
  mov ecx, [edi + 8]
  rep outsb                   ; the first module
  mov edi, [ebx + 40]
  mov ecx, [ebx + 48]
.entry:
  mov eax, [edi + 8]
  out dx, eax                 ; how long an entry of the memory map is
  add edi, 24
  loop .entry
  hlt
print:
  lodsb
  test al, al
  jz .done
  out dx, al
  jmp print
.done:
  ret
`;

for (const format of ["elf32", "elf64"] as const) {
  Deno.test(`a kernel in ${format} with PVH's note is entered there, and not at its ELF entry`, () => {
    const image = Image.fromFile(linked(PVH + STACK, { format, script: AT_1_MIB }));
    assertEquals(image.kind, "pvh");
    using vm = boot(image, { memory: "4M", kernel: { commandLine: "pvh", initrd: "RAM disk" } });
    expect(vm).toHaveRegisters({ cr0: 0x31n, cr4: 0n, "tr.limit": 0x67 });
    expect(vm).toExit([
      ...dwords(0x336e_c578, 1),
      ...text("pvh"),
      ...dwords(1),
      ...text("RAM disk"),
      ...dwords(0x9_fc00, 0x30_0000, 0x4000),
      hlt(),
    ]);
  });
}

/** Finds the symbol that its name says, by the section headers that it is told of, and reports its value. */
const SYMBOLS_BODY = `
_start:
  mov edx, 0x10
  mov edi, [ebx + 36]         ; syms_addr
  mov ecx, [ebx + 28]         ; syms_num
.section:
  cmp dword [edi + 4], 2      ; sh_type: SHT_SYMTAB
  je .table
  add edi, [ebx + 32]
  loop .section
  hlt
.table:
  mov eax, [edi + 24]         ; sh_link: its strings
  mul dword [ebx + 32]
  add eax, [ebx + 36]
  mov ebp, [eax + 12]         ; sh_addr
  mov esi, [edi + 12]
  mov ecx, [edi + 20]
  shr ecx, 4
.symbol:
  mov eax, [esi]
  cmp dword [ebp + eax], "answ"
  je .found
  add esi, 16
  loop .symbol
  hlt
.found:
  mov eax, [esi + 4]
  mov edx, 0x10
  out dx, eax
  hlt
  global answ
answ equ 0x2a
`;

Deno.test("a multiboot kernel finds its symbols", () => {
  const file = linked(HEADER + SYMBOLS_BODY, { format: "elf32", script: AT_1_MIB });
  using vm = boot(Image.fromFile(file));
  expect(vm).toExit([...dwords(0x2a), hlt()]);
});

const C_KERNEL = `
typedef unsigned int u32;
struct info { u32 flags, mem_lower, mem_upper, boot_device, cmdline; };
__attribute__((section(".header"), aligned(4), used))
static const u32 header[] = { 0x1badb002, 0, -0x1badb002 };
static char stack[4096] __attribute__((used));
static u32 zero;
static const char greeting[] = "C: ";
__asm__(".globl _start\\n_start: mov $stack+4096, %esp\\n push %ebx\\n push %eax\\n call kmain\\n cli\\n 1: hlt\\n jmp 1b\\n");
static void putc(char c) { __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((unsigned short)0x3f8)); }
static void puts(const char *text) { while (*text) putc(*text++); }
void kmain(u32 magic, struct info *info) {
  if (magic != 0x2badb002 || zero != 0) return;
  puts(greeting);
  puts((const char *)info->cmdline);
}
`;

Deno.test("a multiboot kernel in C", () => {
  const image = Image.fromFile(compiled(C_KERNEL, AT_1_MIB));
  using vm = boot(image, { kernel: { commandLine: "hello" } });
  vm.run();
  expect(vm).toHaveSerial("C: hello");
  assert("kmain" in image.symbols);
});
