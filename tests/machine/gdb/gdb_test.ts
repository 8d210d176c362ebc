import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { asm, boot, expect } from "@vmexit/vmexit";
import { gdb } from "./run_gdb.ts";

/** From real mode to 64-bit code, by a label in each. */
const THREE_WIDTHS = asm`
  org 0x7c00
  bits 16
  mov ax, 0x1234
in16:
  inc ax
  cli
  lgdt [gdtr]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  jmp 8:in32
bits 32
in32:
  mov eax, 16
  mov ds, ax
  mov ss, ax
  mov esp, 0x7000
  mov dword [0x1000], 0x2003
  mov dword [0x2000], 0x3003
  mov dword [0x3000], 0x83
  mov eax, 0x1000
  mov cr3, eax
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x100
  wrmsr
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  jmp 24:in64
bits 64
in64:
  mov rax, 0x1122334455667788
  call leaf
after:
  mov [0x5000], rax
  hlt
leaf:
  push rbp
  mov rbp, rsp
  inc rax
  pop rbp
  ret
gdt: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00af9a000000ffff
gdtr: dw gdtr - gdt - 1
  dd gdt
`;

Deno.test("gdb follows a guest from 16 to 32 to 64 bits, and leaves it where it stands", async () => {
  using vm = boot(THREE_WIDTHS, { mode: "real", memory: "1M" });
  const at = (label: string) => `0x${vm.image.symbol(label).toString(16)}`;
  const said = await gdb(vm, [
    "print/x $eip",
    `break *${at("in16")}`,
    "continue",
    "print/x $ax",
    "x/i $pc",
    `break *${at("in32")}`,
    "continue",
    "x/i $pc",
    "stepi",
    "print/x $eax",
    `break *${at("in64")}`,
    "continue",
    "x/i $pc",
    "stepi",
    "print/x $rax",
    "print/x $efer & 0x500",
    `break *${at("leaf")}`,
    "continue",
    "finish",
    "print/x $pc",
    "set $rax = 0x77",
    "set *(char *)0x6000 = 0x55",
    "detach",
  ]);
  const prints = said.filter((line) => /^(\$\d+ = |=> )/.test(line)).map((line) =>
    line.replace(/^\$\d+ = |\s+/g, " ").trim()
  );
  assertEquals(prints, [
    "0x7c00",
    "0x1234",
    `=> ${at("in16")}: inc %ax`,
    `=> ${at("in32")}: mov $0x10,%eax`,
    "0x10",
    `=> ${at("in64")}: movabs $0x1122334455667788,%rax`,
    "0x1122334455667788",
    "0x500",
    at("after"),
  ]);
  assertEquals(vm.memory.u8(0x6000), 0x55);
  expect(vm).toHaveRegisters({ rip: "after", rax: 0x77n });
  vm.run();
  expect(vm).toHaveMemory(0x5000, [0x77, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("gdb's code addresses are linear, with a base of CS as well", async () => {
  using vm = boot(
    asm`
    bits 16
    org 0x7c00
    nop
    mov bx, 7
    hlt
  `,
    { mode: "real", registers: { cs: 0x7c0, rip: 0 } },
  );
  const said = await gdb(vm, [
    "print/x $pc",
    "break *0x7c01",
    "continue",
    "print/x $pc",
    "print/x $ip",
    "stepi",
    "print $bx",
    "set $pc = 0x7c01",
    "detach",
  ]);
  assertEquals(said.filter((line) => line.startsWith("$")).map((line) => line.split(" = ")[1]), [
    "0x7c00",
    "0x7c01",
    "0x1",
    "7",
  ]);
  assertEquals(vm.registers.rip, 1n);
});

Deno.test("a watchpoint of gdb's stops behind the write, and monitor says what gdb does not know", async () => {
  using vm = boot(
    asm`
    bits 32
    mov ecx, 3
  again:
    mov [0x9000], ecx
    out 0x80, al
    loop again
    hlt
  `,
    { memory: "1M" },
  );
  using _ = vm.ports.on(0x80, { write() {} });
  const said = await gdb(vm, [
    "watch *(int *)0x9000",
    "continue",
    "continue",
    "delete",
    "monitor exits 2",
    "monitor walk 0x9000",
    "monitor nonsense",
    "monitor walk",
    "monitor registers",
    "continue",
    "detach",
  ]);
  const text = said.join("\n");
  assertStringIncludes(text, "Old value = 0\nNew value = 3");
  assertStringIncludes(text, "Old value = 3\nNew value = 2");
  assertStringIncludes(text, 'There is no command "nonsense".\nmonitor help');
  assertStringIncludes(text, "Cannot read nothing as a number: write 0x1000 or 4096");
  assertStringIncludes(text, "The run has ended: HLT.");
});

Deno.test("gdb hears why a guest cannot go on, and can answer for a device", async () => {
  using vm = boot(
    asm`
    bits 32
    in al, 0x71
    mov dl, al
    lidt [none]
    ud2
    none: dd 0, 0
  `,
    { memory: "1M" },
  );
  const said = await gdb(vm, [
    "continue",
    "monitor answer 0x42",
    "stepi",
    "stepi",
    "print $dl",
    "continue",
    "continue",
  ]);
  const text = said.join("\n");
  assertStringIncludes(text, "Nothing answers exit 1: IO in 0x71 byte");
  assertStringIncludes(text, "answered with 0x42");
  assertStringIncludes(text, "$1 = 66");
  assertStringIncludes(text, "it triple-faulted");
  assertStringIncludes(text, "Program received signal SIGSEGV");
  assertEquals(vm.lastExit?.reason, "SHUTDOWN");
});

Deno.test("the launch configuration of the examples has gdb follow the guest", async () => {
  const { configurations: [{ setupCommands }] } = JSON.parse(
    await Deno.readTextFile(new URL("../../examples/.vscode/launch.json", import.meta.url)),
  );
  using vm = boot(asm`hlt`);
  const said = await gdb(vm, ["detach"], { setup: setupCommands[0].text });
  assertEquals(said.filter((line) => /error/i.test(line)), []);
});

Deno.test("CPUs are gdb's threads", async () => {
  using vm = boot(
    asm`
    mov bx, 1
    hlt
  second:
    mov bx, 2
    mov cx, 5
    hlt
  `,
    { cpus: [{}, { entry: "second" }] },
  );
  const said = await gdb(vm, [
    "info threads",
    "thread 2",
    "stepi",
    "print $bx",
    "thread 1",
    "print $bx",
    "continue",
  ]);
  const text = said.join("\n");
  assert(
    /Thread 1 \(CPU 0: RUNNABLE\)/.test(text) && /Thread 2 \(CPU 1: RUNNABLE\)/.test(text),
    text,
  );
  assertEquals(said.filter((line) => line.startsWith("$")), ["$1 = 2", "$2 = 0"]);
  expect(vm).toHaveRegisters({ bx: 1 });
  expect(vm.cpus[1]).toHaveRegisters({ bx: 2, cx: 5 });
});

Deno.test("monitor gdt and idt name descriptors, gates, and where they lead", async () => {
  using vm = boot(
    asm`
    bits 32
  start:
    lgdt [gdtr]
    lidt [idtr]
    hlt
  handler:
    iret
  gdt: dq 0, 0x00cf9a000000ffff, 0x00cff2000000ffff, 0, 0x0000890012340067
  gdtr: dw gdtr - gdt - 1
    dd gdt
  idt: dq 0
    dw (handler - $$) & 0xffff, 8, 0xee00, 1
  idtr: dw idtr - idt - 1
    dd idt
  `,
    { memory: "1M" },
  );
  const said = (await gdb(vm, ["monitor idt", "stepi", "stepi", "monitor gdt", "monitor idt"]))
    .join("\n");
  assertStringIncludes(said, "0x08  32-bit code, base 0x0, limit 0xffffffff, present");
  assertStringIncludes(said, "0x10  data, base 0x0, limit 0xffffffff, DPL 3, present");
  assert(
    /0x20 {2}available TSS, base 0x1234, limit 0x67, present/.test(said) && !said.includes("0x18 "),
    said,
  );
  assert(/0x01 {2}interrupt gate to 0008:0x100\w\w, handler.*, DPL 3/.test(said), said);
});

Deno.test("monitor idt shows real mode's vectors, and monitor gdt that there is none", async () => {
  using vm = boot(asm`
    mov word [0x21 * 4], handler
    mov word [0x21 * 4 + 2], 0
    hlt
  handler:
    iret
  `);
  const said = (await gdb(vm, ["stepi", "stepi", "monitor idt"])).join("\n");
  assert(/0x21 {2}0000:0[0-9a-f]{3}, 0x[0-9a-f]{3}, handler/.test(said), said);
});
