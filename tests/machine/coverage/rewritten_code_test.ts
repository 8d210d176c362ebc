import { assertEquals } from "@std/assert";
import { asm, expect, hlt, portOut } from "../../../mod.ts";
import { covered, missed } from "./covered.ts";

Deno.test("what the test writes over code is the guest's", () => {
  using vm = covered(asm`
      mov al, 1
      mov al, 2
      out 0x10, al
      hlt
  `);
  vm.memory.write(0x502, [0xb0, 3]);
  vm.ports.on(0x10, { write: (_, value) => assertEquals(value, 3) });
  vm.run();
  assertEquals(missed(vm), ["mov al, 2"]);
});

Deno.test("a boot sector that moves itself is followed to where it goes on", () => {
  using vm = covered(asm`
    org 0x7c00
      xor ax, ax
      mov ds, ax
      mov es, ax
      mov si, 0x7c00
      mov di, 0x600
      mov cx, 256
      cld
      rep movsw
      jmp 0:0x600 + moved - 0x7c00
    moved:
      mov al, 'M'
      out 0x10, al
      cmp al, 'N'
      je other
      mov byte [0x7c00], 0
      hlt
    other:
      out 0x11, al
      hlt
  `);
  expect(vm).toExit([portOut(0x10, "M"), hlt()]);
  assertEquals(missed(vm), ["out 0x11, al", "hlt"]);
});

Deno.test("a guest that writes other code over its own executes that", () => {
  using vm = covered(asm`
      mov di, patched
      mov al, 0xf4              ; hlt
      mov cx, 8
      rep stosb
      jmp patched
    patched:
      mov al, 1
      mov al, 2
      mov al, 3
      mov al, 4
  `);
  const exit = vm.run();
  assertEquals(exit.reason, "HLT");
  assertEquals(vm.registers.rip, vm.image.symbol("patched") + 1n);
  assertEquals(missed(vm), ["mov al, 1", "mov al, 2", "mov al, 3", "mov al, 4"]);
});

Deno.test("an instruction is the guest's, though most of what lies around it is other code by now", () => {
  using vm = covered(asm`
      mov di, patched
      mov cx, 16
      mov al, 0x40              ; inc ax
      rep stosb
      jmp patched
    patched:
      times 16 inc bx
      hlt
  `);
  assertEquals(vm.run().reason, "HLT");
  assertEquals([vm.registers.al, vm.registers.bx], [0x40 + 16, 0]);
  // Where it is found out by HLT, one in the midst of other code is not known to be the guest's own.
  const unknown = vm.coverage.means === "hlt" ? ["hlt"] : [];
  assertEquals(missed(vm), ["times 16 inc bx", ...unknown]);
});

Deno.test("a hlt that a guest puts over an instruction that it has executed is its own", () => {
  using vm = covered(asm`
    again:
      nop
      nop
      mov byte [again], 0xf4    ; hlt
      jmp again
      nop
  `);
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.rip, vm.image.symbol("again") + 1n);
});

Deno.test("a hlt of the guest's own in the midst of data and zeros is that", () => {
  using vm = covered(asm`
      jmp over
      nop
    ticks: dq 5
    over:
      hlt
  `);
  assertEquals(vm.run().reason, "HLT");
  assertEquals(vm.registers.rip, vm.image.symbol("over") + 1n);
  assertEquals(missed(vm), ["nop"]);
});

Deno.test("an instruction whose operand the guest changes is still that instruction", () => {
  using vm = covered(asm`
      mov byte [value + 1], 7
    value:
      mov al, 1
      out 0x10, al
      hlt
  `);
  expect(vm).toExit([portOut(0x10, 7), hlt()]);
  assertEquals(missed(vm), []);
});
