import { asm } from "@vmexit/vmexit";
import { assertEquals, assertInstanceOf } from "@std/assert";
import { AsmSource } from "../../lib/guest/asm_source.ts";

const DECLARED: [source: AsmSource, bits: number | undefined][] = [
  [asm`nop`, undefined],
  [asm`bits 16`, 16],
  [
    asm`
    ; bits 16
    BITS 64
    bits 32`,
    64,
  ],
  [asm`[bits 32]`, 32],
  [asm`  [ BITS 64 ]`, 64],
  [asm`use32`, 32],
  [asm`mov ax, 1 ; bits 64`, undefined],
  [asm`${asm`bits 64`}`, 64],
  [
    asm`
    org 0x7c00
    PORT equ 0x80
    start:
    %macro say 1
      mov al, %1
      out PORT, al
    %endmacro
    struc pair
      .a: resw 1
    endstruc
    bits 32`,
    32,
  ],
  [
    asm`
    lgdt [0x500]
    jmp dword 8:entry
    bits 32
    entry: hlt`,
    undefined,
  ],
];
Deno.test("a source knows the width of code that it sets first", () => {
  for (const [source, bits] of DECLARED) {
    assertInstanceOf(source, AsmSource);
    assertEquals(source.declaredBits, bits as AsmSource["declaredBits"], source.text);
  }
});
