import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { asm } from "../../lib/guest/asm.ts";
import type { AsmSource } from "../../lib/guest/asm_source.ts";
import { parseListing } from "../../lib/guest/listing.ts";
import { markedLine } from "./marked_line.ts";

/** Address, length, line counted from the source's first, and text, of every line. */
const rowsOf = (source: AsmSource, origin = 0) =>
  source.assemble({ origin, warnings: "collect" }).lines
    .map(({ address, length, line, text }) => [Number(address), length, line - source.line, text]);

Deno.test("each instruction has its address, its length, its line and its text", () => {
  const source = asm`
    first: mov ax, first

    ; a comment
    hlt               ; the end
  `;
  assertEquals(rowsOf(source, 0x7c00), [
    [0x7c00, 3, 1, "first: mov ax, first"],
    [0x7c03, 1, 4, "hlt               ; the end"],
  ]);
});

Deno.test("data that takes several rows of the listing is one line", () => {
  const source = asm`
    db "a text that is longer than a row of the listing", 0
    times 3 db "more than nine bytes"
    times 100 dw 0x1234
    dq 1.5, 3
    nop
  `;
  assertEquals(rowsOf(source), [
    [0, 48, 1, 'db "a text that is longer than a row of the listing", 0'],
    [48, 60, 2, 'times 3 db "more than nine bytes"'],
    [108, 200, 3, "times 100 dw 0x1234"],
    [308, 16, 4, "dq 1.5, 3"],
    [324, 1, 5, "nop"],
  ]);
});

Deno.test("warnings in the midst of the listing do not disturb it", () => {
  const source = asm`
    times 2 mov dword [0x12345678], 0x12345678
    resb 3
    nop
  `;
  assertEquals(rowsOf(source).map(([address, length]) => [address, length]), [
    [0, 18],
    [18, 3],
    [21, 1],
  ]);
});

Deno.test("code out of a macro has the line that called it, and the text of the macro", () => {
  const source = asm`
    %macro inner 1
      mov al, %1
    %endmacro
    %macro outer 0
      cli
      inner 7
    %endmacro
    outer
    inner 8
    hlt
  `;
  assertEquals(rowsOf(source), [
    [0, 1, 8, "cli"],
    [1, 2, 8, "mov al, %1"],
    [3, 2, 9, "mov al, %1"],
    [5, 1, 10, "hlt"],
  ]);
});

Deno.test("code out of a repetition has its own line, every time", () => {
  const source = asm`
    %macro pair 0
      cli
      sti
    %endmacro
    %rep 2
      nop
      pair
    %endrep
    hlt
  `;
  const round = [[6, "nop"], [7, "cli"], [7, "sti"]];
  assertEquals(rowsOf(source).map(([, , line, text]) => [line, text]), [
    ...round,
    ...round,
    [9, "hlt"],
  ]);
});

Deno.test("sections: a line has the address that its labels have", () => {
  const source = asm`
    mov si, text
    section .data
    text: db "x"
    [section .high vstart=0x100000]
    high: nop
    __SECT__
    db "y"
    segment .text
    hlt
    section .bss
    resb 8
  `;
  const image = source.assemble({ origin: 0x7c00 });
  assertEquals(rowsOf(source, 0x7c00), [
    [0x7c00, 3, 1, "mov si, text"],
    [0x7c03, 1, 9, "hlt"],
    [0x7c04, 1, 3, 'text: db "x"'],
    [0x7c05, 1, 7, 'db "y"'],
    [0x100000, 1, 5, "high: nop"],
  ]);
  assertEquals(image.symbols.high, 0x100000n);
  assertEquals(image.bytes[8], 0x90);
});

Deno.test("structures and absolute segments make no lines, and code goes on behind them", () => {
  const source = asm`
    nop
    struc point
      .x: resw 1
    endstruc
    cli
    absolute 0x500
    variable: resw 1
    section .text
    sti
    istruc point
      at .x, dw 5
    iend
    hlt
  `;
  assertEquals(rowsOf(source).map(([address, , , text]) => [address, text]), [
    [0, "nop"],
    [1, "cli"],
    [2, "sti"],
    [3, "at .x, dw 5"],
    [5, "hlt"],
  ]);
});

Deno.test("a line is found by an address anywhere in it, and an address by a line", () => {
  const image = asm`
    nop
    mov ax, 0x1234 ; @found
    hlt
  `.assemble({ origin: 0x100 });
  const line = markedLine(import.meta.url, "found");
  for (const address of [0x101, 0x102, 0x103]) assertEquals(image.lineOf(address)?.line, line);
  for (const address of [0xff, 0x105]) assertEquals(image.lineOf(address), undefined);
  assertEquals(image.addressOf(import.meta.filename!, line), 0x101n);
  assertEquals(image.addressOf("listing_test.ts", line), 0x101n);
  assertEquals(image.addressOf("test.ts", line), undefined);
  assertEquals(image.addressOf("listing_test.ts", 1), undefined);
});

Deno.test("a row that does not agree with the image's bytes is left out", () => {
  const listing = "     1 00000000 90    nop\n     2 00000001 F4    hlt\n";
  const section = { name: ".text", virtualStart: 0n, start: 0n, length: 2, hasBytes: true };
  const lines = (...bytes: number[]) =>
    parseListing(listing, {
      sections: [section],
      bytes: new Uint8Array(bytes),
      origin: 0n,
      includedFile: (name) => name,
    }).lines.map(({ text }) => text);
  assertEquals(lines(0x90, 0xf4), ["nop", "hlt"]);
  assertEquals(lines(0xcc, 0xf4), ["hlt"]);
  assertEquals(lines(), []);
});

Deno.test("whatever the listing says, reading it ends and its lines lie in order", () => {
  const row = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "     1                                  %line 4+1 x.ts",
      '    12                                    %include "x.inc"',
      "     1 00000000 B80100              <1> label: mov ax, 1",
      "     7                              <3> section .data",
      "     3 00000009 <rep 3h>           ",
      "     4          ******************       warning: bounds [-w+number-overflow]",
      "     9 00000004 90                      nop",
    ),
  );
  const section = { name: ".text", virtualStart: 0n, start: 0n, length: 16, hasBytes: true };
  fc.assert(fc.property(fc.array(row), (rows) => {
    const { lines } = parseListing(rows.join("\n"), {
      sections: [section],
      bytes: new Uint8Array(16).fill(0x90),
      origin: 0n,
      includedFile: (name) => name,
    });
    for (const line of lines) assert(line.length > 0);
  }));
});

Deno.test("the text of every line is known, with its indentation: with bytes, in macros, in included files", () => {
  const source = asm`
  %macro twice 1
      db %1
    db %1
  %endmacro

; at the margin
  label:
      twice 5 ; a call
  %rep 2
    nop
  %endrep
    times 20 db 1
  %if 0
    hlt
  %endif
  `;
  const image = source.assemble();
  const text = (line: number) => image.sourceText(source.file, source.line + line);
  assertEquals(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((line) => text(line)),
    [
      "  %macro twice 1",
      "      db %1",
      "    db %1",
      "  %endmacro",
      "",
      "; at the margin",
      "  label:",
      "      twice 5 ; a call",
      "  %rep 2",
      "    nop",
      "  %endrep",
      "    times 20 db 1",
      "  %if 0",
      "    hlt",
      "  %endif",
    ],
  );
  assertEquals([text(-1), text(40), image.sourceText("elsewhere.asm", 1)], [
    undefined,
    undefined,
    undefined,
  ]);
});
