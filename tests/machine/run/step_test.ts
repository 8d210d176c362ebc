import { asm, boot, UnhandledExitError } from "@vmexit/vmexit";
import { assert, assertEquals, assertThrows } from "@std/assert";

Deno.test("step executes one instruction", () => {
  using vm = boot(asm`
    mov ax, 1
    add ax, 2
    inc ax
    hlt
  `);
  const start = vm.registers.rip;
  const exit = vm.step();
  assert(exit.reason === "DEBUG");
  assertEquals([vm.registers.ax, vm.registers.rip], [1, start + 3n]);
  vm.step();
  assertEquals([vm.registers.ax, vm.registers.rip], [3, start + 6n]);
  // Stepping leaves nothing behind: the run does not stop at each instruction.
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.ax, 4);
  assertEquals(vm.registers.rflags.tf, false);
});

Deno.test("step over an out hands it to its handler and ends behind it", () => {
  using vm = boot(asm`
    mov al, 'x'
    out 0x10, al
    in  al, 0x11
    hlt
  `);
  const written: number[] = [];
  vm.ports.on(0x10, { write: (_port, value) => void written.push(value) });
  vm.ports.on(0x11, { read: () => 0x77 });
  const start = vm.registers.rip;
  vm.step();
  assertEquals(written, []);
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals([written, vm.registers.rip], [[0x78], start + 4n]);
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals([vm.registers.al, vm.registers.rip], [0x77, start + 6n]);
});

Deno.test("step at a hlt is that HLT, and the next step goes on behind it", () => {
  using vm = boot(asm`
    hlt
    nop
    hlt
  `);
  const start = vm.registers.rip;
  assertEquals(vm.step().reason, "HLT");
  assertEquals(vm.registers.rip, start + 1n);
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals(vm.registers.rip, start + 2n);
  assertEquals(vm.step().reason, "HLT");
});

Deno.test("step follows registers that were set before it", () => {
  using vm = boot(asm`
    nop
    hlt
  elsewhere:
    mov bx, 5
    mov bx, 6
    hlt
  `);
  vm.registers.rip = "elsewhere";
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals(vm.registers.bx, 5);
});

Deno.test("a step that needs an answer goes on when it has one", () => {
  using vm = boot(asm`
    in al, 0x11
    mov bl, 1
    hlt
  `);
  assertThrows(() => vm.step(), UnhandledExitError, "IO in 0x11");
  vm.ports.on(0x11, { read: () => 0x33 });
  assertEquals(vm.step().reason, "DEBUG");
  assertEquals([vm.registers.al, vm.registers.bl], [0x33, 0]);
});

Deno.test("a whole guest can be stepped through in long mode", () => {
  using vm = boot(asm`
    bits 64
    mov ecx, 3
  again:
    dec ecx
    jnz again
    hlt
  `);
  let steps = 1;
  while (vm.step().reason === "DEBUG") steps++;
  assertEquals([steps, vm.registers.rcx], [1 + 3 * 2 + 1, 0n]);
});
