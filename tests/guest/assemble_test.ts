import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm } from "../../lib/guest/asm.ts";
import { assemble } from "../../lib/guest/assemble.ts";
import { AssemblyError } from "../../lib/guest/diagnostic.ts";
import type { AsmSource } from "../../lib/guest/asm_source.ts";
import { countingAssembler } from "./counting_assembler.ts";
import { markedLine } from "./marked_line.ts";

const here = import.meta.filename;

Deno.test("a syntax error on line 3 of a literal names this file and that line", () => {
  const error = assertThrows(
    () =>
      asm`
        mov ax, 1
        mov bax, 2 ; @syntax
      `.assemble(),
    AssemblyError,
  );
  const line = markedLine(import.meta.url, "syntax");
  const [diagnostic] = error.diagnostics;
  assertEquals([diagnostic.file, diagnostic.line], [here, line]);
  assertEquals(diagnostic.severity, "error");
  assertStringIncludes(error.message, `${here}:${line}: error: `);
  assertStringIncludes(error.message, "mov bax, 2");
});

Deno.test("an unknown symbol is marked below where it stands", () => {
  const error = assertThrows(() => asm`mov si, mesage`.assemble(), AssemblyError);
  const rows = error.message.split("\n");
  assertEquals(rows.slice(-2), ["    mov si, mesage", "            ^^^^^^"]);
});

Deno.test("an instruction of another width is refused with how to set the width, other errors without", () => {
  const remedy = "write `bits 32` or `bits 64`";
  const wider = assertThrows(() => asm`mov rax, 1`.assemble(), AssemblyError);
  assertStringIncludes(wider.message, remedy);
  const unknown = assertThrows(() => asm`mov si, mesage`.assemble(), AssemblyError);
  assert(!unknown.message.includes(remedy));
});

Deno.test("every error is reported, each on its line", () => {
  const error = assertThrows(
    () =>
      asm`
        mov ax, one ; @first-of-two
        hlt
        mov ax, two
      `.assemble(),
    AssemblyError,
    "NASM found 2 errors",
  );
  const first = markedLine(import.meta.url, "first-of-two");
  assertEquals(error.diagnostics.map(({ line }) => line), [first, first + 2]);
});

Deno.test("an error in a spliced literal names the spliced literal's line, and one behind it its own", () => {
  const inner = asm`
    mov ax, inner ; @spliced`;
  const error = assertThrows(
    () =>
      asm`
        ${inner}
        mov ax, outer ; @behind
      `.assemble(),
    AssemblyError,
  );
  assertEquals(error.diagnostics.map(({ line }) => line), [
    markedLine(import.meta.url, "spliced"),
    markedLine(import.meta.url, "behind"),
  ]);
});

Deno.test("an error inside a macro names the line that called it, and notes the macro's", () => {
  const error = assertThrows(
    () =>
      asm`
        %macro broken 0
          mov ax, nowhere ; @macro
        %endmacro
        broken ; @call
      `.assemble(),
    AssemblyError,
  );
  const lines = error.diagnostics.map(({ severity, line }) => [severity, line]);
  assertEquals(lines, [
    ["error", markedLine(import.meta.url, "call")],
    ["note", markedLine(import.meta.url, "macro")],
  ]);
});

Deno.test("the guest can name the TypeScript file and line itself", () => {
  const { bytes } = asm`
    dd __LINE__ ; @line
    db __FILE__
  `.assemble();
  assertEquals(new DataView(bytes.buffer).getUint32(0, true), markedLine(import.meta.url, "line"));
  assertEquals(new TextDecoder().decode(bytes.subarray(4)), here);
});

const ORIGINS: [what: string, source: AsmSource, origin: number][] = [
  ["no org: the one that is asked for", asm`label: dw label`, 0x600],
  [
    "an org",
    asm`
    org 0x7c00
    label: dw label`,
    0x7c00,
  ],
  [
    "an org in brackets",
    asm`
    [ORG 0x7c00]
    label: dw label`,
    0x7c00,
  ],
  [
    "an org behind the code",
    asm`
    label: dw label
    org 0x7c00`,
    0x7c00,
  ],
  [
    "an org in a macro",
    asm`
    %macro begin 1
      org %1
    %endmacro
    begin 0x7c00
    label: dw label`,
    0x7c00,
  ],
  [
    "an org that is not assembled",
    asm`
    %if 0
      org 0x7c00
    %endif
    label: dw label`,
    0x600,
  ],
  [
    "an org in a comment",
    asm`
    ; org 0x7c00
    label: dw label`,
    0x600,
  ],
  [
    "an org of 0",
    asm`
    org 0
    label: dw label`,
    0,
  ],
];
for (const [what, source, origin] of ORIGINS) {
  Deno.test(`the origin of a source with ${what}`, () => {
    const image = source.assemble({ origin: 0x600 });
    assertEquals(image.origin, BigInt(origin));
    assertEquals(image.symbols.label, BigInt(origin));
    assertEquals(image.bytes[0] | image.bytes[1] << 8, origin);
  });
}

Deno.test("a second org of the author's is an error on its line", () => {
  const error = assertThrows(
    () =>
      asm`
        org 0x100
        org 0x200 ; @second-org
        nop
      `.assemble(),
    AssemblyError,
    "program origin redefined",
  );
  assertEquals(error.diagnostics[0].line, markedLine(import.meta.url, "second-org"));
});

Deno.test("an origin may be any address of 64 bits", () => {
  const source = asm`
    bits 64
    label: dq label`;
  const image = source.assemble({ origin: 0x12_3456_7890 });
  assertEquals(image.symbols.label, 0x12_3456_7890n);
  const upper = 0xffff_ffff_8000_0000n;
  assertEquals(source.assemble({ origin: upper }).symbols.label, upper);
  const { origin, bytes } = asm`
    org 0xffffffff80000000
    nop`.assemble();
  assertEquals([origin, ...bytes], [upper, 0x90]);
});

Deno.test("options out of range are refused before NASM runs", () => {
  const source = asm`nop`;
  for (const origin of [-1, 1.5, NaN, 2 ** 53]) {
    assertThrows(
      () => source.assemble({ origin }),
      RangeError,
      `Cannot use ${origin} as an image's origin`,
    );
  }
  assertThrows(() => source.assemble({ bits: 8 as 16 }), RangeError, "Cannot assemble for 8 bits");
  const warnings = "eror" as "error";
  assertThrows(() => source.assemble({ warnings }), TypeError, 'Cannot treat warnings as "eror"');
});

Deno.test("bits are what the source says, else what is asked for", () => {
  const move = asm`mov eax, 1`;
  assertEquals(move.assemble({ bits: 16 }).bytes[0], 0x66);
  assertEquals(move.assemble({ bits: 32 }).bytes[0], 0xb8);
  assertEquals(move.assemble({ bits: 64 }).bits, 64);
  const declared = asm`
    bits 32
    mov eax, 1`;
  const image = declared.assemble({ bits: 64 });
  assertEquals([image.bits, image.bytes[0]], [32, 0xb8]);
});

Deno.test("symbols: labels, local labels, constants, sections", () => {
  const image = asm`
    port equ 0x3f8
    minus: equ -1
    upper: equ 0xffff800000000000
    struc point
      .x: resw 1
      .y: resw 1
    endstruc
    %macro spin 0
      %%again: jmp %%again
    %endmacro
    start: nop
    .loop: jmp .loop
    spin
    section .data
    text: db "x"
    section .high vstart=0x100000
    far_away: nop
    section .bss
    buffer: resb 64
  `.assemble({ origin: 0x7c00 });
  assertEquals({ ...image.symbols }, {
    port: 0x3f8n,
    upper: 0xffff_8000_0000_0000n,
    minus: -1n,
    point: 0n,
    "point.x": 0n,
    "point.y": 2n,
    point_size: 4n,
    start: 0x7c00n,
    "start.loop": 0x7c01n,
    text: 0x7c08n,
    far_away: 0x100000n,
    buffer: 0x100004n,
  });
});

Deno.test("execution starts at _start where there is one, else at the origin", () => {
  assertEquals(
    asm`
    nop
    start: nop`.assemble({ origin: 0x100 }).entry,
    0x100n,
  );
  assertEquals(
    asm`
    nop
    _start: nop`.assemble({ origin: 0x100 }).entry,
    0x101n,
  );
});

Deno.test("reserved memory is part of the image's size and not of its bytes", () => {
  const image = asm`
    nop
    section .bss
    resb 4096
  `.assemble({ origin: 0x1000 });
  assertEquals(image.bytes.length, 1);
  assertEquals(image.size, 4 + 4096);
});

Deno.test("a source that makes no bytes is refused", () => {
  assertThrows(() => asm`; nothing`.assemble(), RangeError, "it has no bytes");
});

Deno.test("a map directive of the author's does no harm", () => {
  const image = asm`
    [map all /dev/null]
    nop
    last: hlt`.assemble();
  assertEquals(image.symbols.last, 1n);
});

Deno.test("a warning is in the image, and printed once", () => {
  const source = asm`
    mov al, 0x1234 ; @warning
  `;
  const counting = countingAssembler();
  const first = assemble(source, {}, counting);
  assemble(source, {}, counting);
  const line = markedLine(import.meta.url, "warning");
  assertEquals(first.warnings.length, 1);
  assertEquals([first.warnings[0].file, first.warnings[0].line], [here, line]);
  assertEquals(counting.printed.length, 1);
  assertStringIncludes(counting.printed[0], `${here}:${line}: warning: `);
});

Deno.test("warnings can be errors, or be collected in silence", () => {
  const source = asm`mov al, 0x4321`;
  const counting = countingAssembler();
  assertEquals(assemble(source, { warnings: "collect" }, counting).warnings.length, 1);
  assertEquals(counting.printed, []);
  assertThrows(
    () => assemble(source, { warnings: "error" }, counting),
    AssemblyError,
    "warnings are errors here",
  );
});

Deno.test("options in NASMENV do not reach the guest", () => {
  Deno.env.set("NASMENV", "-DSECRET=1");
  try {
    const image = asm`
      %ifdef SECRET
        db 1
      %endif
      db 2`.assemble();
    assertEquals([...image.bytes], [2]);
  } finally {
    Deno.env.delete("NASMENV");
  }
});

Deno.test({
  name: "assembling needs no permission but ffi and to run nasm",
  permissions: { ffi: true, run: ["nasm"] },
  fn() {
    const image = asm`db ${0x5a}`.assemble({ origin: 0x7c00 });
    assertEquals(image.bytes[0], 0x5a);
    assert(image.lines.length === 1);
  },
});

Deno.test({
  name: "without the permission to run NASM the error names it",
  permissions: { ffi: true },
  fn() {
    assertThrows(
      () => asm`db 0x5b`.assemble(),
      Deno.errors.NotCapable,
      "Run with --allow-run=nasm",
    );
  },
});
