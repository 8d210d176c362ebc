import {
  asm,
  AssertionError,
  boot,
  expect,
  GuestFaultError,
  hlt,
  Image,
  type Machine,
  portOut,
  TimeLimitError,
} from "@vmexit/vmexit";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { firstFrame, markedLine } from "../guest/marked_line.ts";

/** Where the kernel's addresses begin, as most x86-64 kernels have it: physical 0 is there again. */
const KERNEL = 0xffff_ffff_8000_0000n;
const LOADED_AT = 0x10_0000n;

/** NASM gives right lines to one section of code in each file. */
const BOOT = `
bits 64
global _start
extern kernel

section .boot progbits alloc exec write
_start:
    mov rax, cr3
    mov dword [rax + 511 * 8], upper + 3     ; present, writable
    mov rax, kernel
    jmp rax
align 4096
upper:                                       ; a page directory pointer table, and a page directory
    times 510 dq 0
    dq directory + 3
    dq 0
directory:
    dq 0x83                                  ; physical 0, 2 MiB
    times 511 dq 0
`;

const KERNEL_SOURCE = `
bits 64
global kernel, inner, ticks, text, finished

section .text
kernel:
    lea rsi, [rel text]
    call inner
finished:
    hlt
inner:
    inc qword [rel ticks]
    mov dx, 0x80
    mov al, [rsi]
    out dx, al
    ret

section .data
ticks: dq 41
text: db "kernel"
`;

const SCRIPT = `
ENTRY(_start)
SECTIONS {
  . = ${LOADED_AT};
  .boot : { *(.boot) }
  . = ALIGN(4096) + ${KERNEL};
  .text : AT(ADDR(.text) - ${KERNEL}) { *(.text) }
  .data : AT(ADDR(.data) - ${KERNEL}) { *(.data) }
}
`;

function run(command: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(command, { args }).outputSync();
  assert(success, `${command}: ${new TextDecoder().decode(stderr)}`);
}

/** The kernel as an ELF file, by NASM and the linker that comes with the C compiler. */
function linkKernel(): Uint8Array {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-kernel-" });
  try {
    const [script, kernel] = [`${folder}/kernel.ld`, `${folder}/kernel.elf`];
    Deno.writeTextFileSync(script, SCRIPT);
    const objects = Object.entries({ boot: BOOT, kernel: KERNEL_SOURCE }).map(([name, text]) => {
      const [source, object] = [`${folder}/${name}.asm`, `${folder}/${name}.o`];
      Deno.writeTextFileSync(source, text);
      run("nasm", "-f", "elf64", "-g", "-F", "dwarf", "-o", object, source);
      return object;
    });
    run("ld", "-static", "--no-warn-rwx-segments", "-T", script, "-o", kernel, ...objects);
    return Deno.readFileSync(kernel);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const file = linkKernel();

/** The number of the line of a source that is so. */
const lineOf = (source: string, text: string) =>
  source.split("\n").findIndex((line) => line.trim() === text) + 1;

/** The state page of a machine: that of an expectation that fails. */
function pageOf(vm: Machine): string {
  return assertThrows(() => expect(vm).toHaveRegisters({ r15: 0xbadn }), AssertionError).message;
}

Deno.test("a kernel of the upper half starts where it was loaded, and is known before and after its jump", () => {
  const image = Image.fromElf(file);
  using vm = boot(image, { mode: "long", memory: "4M" });
  const inner = image.symbol("inner");
  assert(inner > KERNEL);
  assertEquals([image.origin, image.entry, vm.registers.rip], [LOADED_AT, LOADED_AT, LOADED_AT]);
  const before = pageOf(vm);
  assertStringIncludes(before, "guest at 0x100000 in 64-bit mode\n");
  assertStringIncludes(before, `boot.asm:${lineOf(BOOT, "mov rax, cr3")}  _start\n`);
  assertStringIncludes(before, "→ 0x100000  ");

  using breakpoint = vm.debug.breakAt("inner");
  assertEquals([vm.run().reason, breakpoint.hits, breakpoint.address], ["DEBUG", 1, inner]);
  expect(vm).toHaveRegisters({ rip: "inner", rsi: "text" });
  const page = pageOf(vm);
  assertStringIncludes(page, `guest at 0x${inner.toString(16)} in 64-bit mode\n`);
  assertStringIncludes(
    page,
    `kernel.asm:${lineOf(KERNEL_SOURCE, "inc qword [rel ticks]")}  inner\n`,
  );
  assertStringIncludes(page, `→ 0x${inner.toString(16)}  48 ff 05 `);
  assertStringIncludes(page, "inc qword [rel 0xffffffff80");

  assertEquals(vm.memory.u64("ticks"), 41n);
  vm.linear.setU64("ticks", 99n);
  expect(vm).toExit([portOut(0x80, "k"), hlt()]);
  expect(vm).toHaveMemory("ticks", [100, 0]);
  expect(vm).toHaveLinearMemory("text", "kernel");
  expect(vm).toHaveLinearMemory(image.symbol("text"), "kernel");
  assertEquals(vm.linear.toPhysical("ticks"), Number(image.symbol("ticks") - KERNEL));
  assertEquals(vm.linear.walk("ticks").linear, image.symbol("ticks"));
  assertEquals(vm.registers.rip, image.symbol("finished") + 1n);
  const halted = pageOf(vm);
  assertStringIncludes(halted, `kernel.asm:${lineOf(KERNEL_SOURCE, "hlt")}  finished\n`);
  assertStringIncludes(halted, "→ 0xffffffff80");
});

Deno.test("a kernel of the upper half starts there, where the machine's page tables have it", () => {
  const image = Image.fromElf(file, { addresses: "virtual" });
  const mappings = [
    { linear: 0, size: 0x40_0000 },
    { linear: KERNEL, physical: 0, size: 0x40_0000 },
  ];
  using vm = boot(image, {
    mode: "long",
    memory: "4M",
    mappings,
    entry: "kernel",
    registers: { rbx: "ticks", dr0: "inner", gs: { base: "text" } },
    msrs: { LSTAR: "finished" },
  });
  expect(vm).toHaveRegisters({ rip: "kernel", rbx: "ticks", dr0: "inner", "gs.base": "text" });
  expect(vm).toHaveMsrs({ LSTAR: "finished" });
  vm.registers.rcx = "text";
  vm.msrs.set({ LSTAR: "inner" });
  assertEquals(vm.registers.rcx, image.symbol("text"));
  expect(vm).toHaveMsrs({ LSTAR: image.symbol("inner") });
  expect(vm).toExit([portOut(0x80, "k"), hlt()]);
  assertEquals([vm.memory.u64("ticks"), vm.linear.u64(vm.registers.rbx)], [42n, 42n]);
});

Deno.test("assembly for the upper half has its source lines there", () => {
  using vm = boot(
    asm`
      bits 64
      org 0x100000
      mov rax, kernel
      jmp rax
      section .kernel vstart=0xffffffff80200000 align=4096
    kernel:
      nop
    ticks: dq 5
      hlt ; @halted
    `,
    {
      mode: "long",
      memory: "4M",
      mappings: [
        { linear: 0, size: 0x40_0000 },
        { linear: 0xffff_ffff_8020_0000n, physical: 0x10_1000, size: 0x1000 },
      ],
    },
  );
  assertEquals(vm.memory.u64("ticks"), 5n);
  const { lines } = vm.image;
  assertEquals(lines.at(-1)?.address, 0xffff_ffff_8020_0009n);
  vm.registers.rip = lines.at(-1)!.address;
  vm.run();
  const line = markedLine(import.meta.url, "halted");
  assertStringIncludes(pageOf(vm), `higher_half_test.ts:${line}  ticks+0x8`);
  assertStringIncludes(pageOf(vm), "→ 0xffffffff80200009  f4  hlt");
});

Deno.test("a label that the guest does not have is refused with the nearest, at the line that names it", () => {
  using vm = boot(Image.fromElf(file), { mode: "long", memory: "4M" });
  const uses: (() => unknown)[] = [
    () => vm.memory.u64("tick"),
    () => vm.linear.u64("tick"),
    () => vm.memory.view("tick", 1),
    () => expect(vm).toHaveMemory("tick", [41]),
    () => expect(vm).toHaveLinearMemory("tick", [41]),
    () => expect(vm).toHaveRegisters({ rax: "tick" }),
    () => vm.registers.set({ rip: "tick" }),
    () => vm.registers.dr0 = "tick",
    () => vm.msrs.set({ LSTAR: "tick" }),
    () => vm.debug.breakAt("tick"),
    () => vm.debug.watch("tick"),
    () => boot(Image.fromElf(file), { mode: "long", entry: "tick" }),
    () => boot(Image.fromElf(file), { mode: "long", registers: { rsi: "tick" } }),
  ];
  for (const use of uses) {
    assertThrows(use, RangeError, "Cannot find the symbol tick: ", String(use));
    assertThrows(use, RangeError, "near it are ticks");
  }
  const here = import.meta.filename!;
  for (const use of uses.filter((use) => !String(use).includes("registers.dr0"))) {
    const error = assertThrows(use) as Error;
    assertStringIncludes(firstFrame(error) ?? "", here, String(use));
  }
});

Deno.test("what is no address is refused as such", () => {
  using vm = boot(asm`hlt`);
  for (const space of [vm.memory, vm.linear]) {
    assertThrows(() => space.u8(undefined as unknown as number), TypeError, "Cannot use undefined");
    assertThrows(() => space.u8(0.5), RangeError, "Cannot use 0.5 as a");
    assertThrows(() => space.u8(2 ** 63), RangeError, "only a bigint is exact");
    assertThrows(() => space.u8("2304"), RangeError, "Cannot find the symbol 2304");
  }
});

Deno.test("labels of code in a real-mode segment are offsets in registers, and places in memory", () => {
  using vm = boot(
    asm`
      mov si, text
      mov al, [cs:si]
    last:
      hlt
    LIMIT equ 0x10
    text: db "A"
    `,
    { cs: 0x1000, registers: { esi: "last", bx: "LIMIT" } },
  );
  expect(vm).toHaveRegisters({ si: "last", bx: 0x10 });
  expect(vm).toHaveMemory("text", "A");
  expect(vm).toHaveLinearMemory("text", "A");
  assertEquals(vm.memory.addressOf("text"), 0x10000 + Number(vm.image.symbol("text")));
  assertEquals(vm.memory.addressOf("LIMIT"), 0x10);
  using _break = vm.debug.breakAt("last");
  assertEquals(vm.run().reason, "DEBUG");
  expect(vm).toHaveRegisters({ ip: "last", si: "text", al: 0x41 });
});

Deno.test("a fault in the upper half is told with its place, and so is a guest that hangs there", () => {
  using vm = boot(Image.fromElf(file), { mode: "long", memory: "4M", catchFaults: true });
  const inner = `0x${vm.image.symbol("inner").toString(16)}`;
  vm.memory.write("inner", [0x0f, 0x0b]); // ud2
  const fault = assertThrows(() => vm.run(), GuestFaultError).message;
  assertStringIncludes(fault, `#UD at ${inner}`);
  assertStringIncludes(
    fault,
    `kernel.asm:${lineOf(KERNEL_SOURCE, "inc qword [rel ticks]")}  inner\n`,
  );
  assertStringIncludes(fault, `→ ${inner}  0f 0b `);
  expect(vm).toFault("#UD", { rip: "inner" });

  vm.memory.write("inner", [0xeb, 0xfe]); // jmp $
  const hang = assertThrows(() => vm.run({ timeout: 20 }), TimeLimitError).message;
  assertStringIncludes(hang, `guest at ${inner} in 64-bit mode\n`);
  assertStringIncludes(hang, `→ ${inner}  eb fe `);
});
