import { assertEquals } from "@std/assert";
import { asm, type AsmSource } from "../../mod.ts";
import { codeLines, hidesGates } from "../../lib/guest/code_lines.ts";

/** The lines that are instructions, without their comments. */
function code(source: AsmSource): string[] {
  return codeLines(source.assemble()).map(({ text }) => text.replace(/\s*;.*/, ""));
}

Deno.test("instructions are code, and data is none, however it is written", () => {
  assertEquals(
    code(asm`
    struc pair
      .a: resw 1
      .b: resw 1
    endstruc
    start: mov ax, 1
      jmp 0:next
    text: db "mov ax, 1"
    table dw 1, 2
    big:  times 4 dd 0
      istruc pair
        at pair.a, dw 1
        at pair.b, dw 2
      iend
      resb 0
    %macro twice 1
      %1
      %1
    %endmacro
    %macro same 2
      mov %1, 3
      xor %1, %2
    %endmacro
    %define MARK db 0x90
    next:
      same ax, bx
      rep movsb
      times 2 nop               ; db 1
      jmp $
      twice inc ax              ; what a parameter stands for is not known
      MARK
      align 16
      times 510 - ($ - $$) db 0
      dw 0xaa55
  `),
    [
      "start: mov ax, 1",
      "jmp 0:next",
      "mov %1, 3",
      "xor %1, %2",
      "rep movsb",
      "times 2 nop",
      "jmp $",
    ],
  );
});

Deno.test("what may be the rest of an instruction that was written as data is left out", () => {
  assertEquals(
    code(asm`
      mov ax, 1
      db 0x3d                   ; cmp ax, with what follows as its operand
    skipped:
      mov bl, 2
      mov cx, 3
      mov dx, 4
      mov si, 5
      mov di, 6
      mov bp, 7
      hlt
      db 1, 2, 3
    behind:
      mov ax, 8
  `),
    ["mov ax, 1", "mov bp, 7", "hlt", "mov ax, 8"],
  );
});

Deno.test("a prefix by itself belongs to the instruction behind it", () => {
  assertEquals(
    code(asm`
      nop
      rep
      movsb
      hlt
  `),
    ["nop", "rep", "hlt"],
  );
});

Deno.test("returns to other privileges, and entries into guests, are gates", () => {
  const gates = codeLines(
    asm`
    bits 64
      iretq
      ret
      retfq
      o64 sysret
      vmrun
      mov rax, rbx              ; iretq
  `.assemble(),
  );
  assertEquals(gates.filter(({ isGate }) => isGate).map(({ line }) => line - gates[0].line), [
    ...[0, 2, 3, 4],
  ]);
});

Deno.test("gates that are written as data, or behind a name, are known to be there", () => {
  const hides = (source: AsmSource) => hidesGates(source.assemble());
  assertEquals(hides(asm`iret`), false);
  assertEquals(
    hides(asm`
    bits 64
      nop
      db 0x48
      iret
  `),
    true,
  );
  assertEquals(
    hides(asm`
    %define return iret
      nop
      return
  `),
    true,
  );
  assertEquals(
    hides(asm`
      nop
      db 0x66, 0xcf
  `),
    true,
  );
  assertEquals(
    hides(asm`
      hlt
    gdt: dq 0x00cf9a000000ffff
    text: db "no code", 0xcf
  `),
    false,
  );
});
