import { assertEquals, assertInstanceOf, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, type AsmValue } from "../../lib/guest/asm.ts";
import { AssemblyError } from "../../lib/guest/diagnostic.ts";
import { AsmSource } from "../../lib/guest/asm_source.ts";
import { firstFrame, markedLine } from "./marked_line.ts";

const bytesOf = (source: AsmSource) => [...source.assemble().bytes];

Deno.test("an asm literal knows the file and line where its template begins", () => {
  const source = asm`nop ; @begin`;
  assertEquals(source.file, import.meta.filename);
  assertEquals(source.line, markedLine(import.meta.url, "begin"));
});

Deno.test("an asm literal is found wherever it stands", async () => {
  class Guests {
    static field = asm`nop`;
    get getter() {
      return asm`nop`;
    }
  }
  const later = async () => {
    await Promise.resolve();
    return asm`nop`;
  };
  const sources = [Guests.field, new Guests().getter, await later(), [1].map(() => asm`nop`)[0]];
  for (const source of sources) assertEquals(source.file, import.meta.filename);
});

Deno.test("an asm literal is found when the program has turned stack traces off", () => {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    assertEquals(asm`nop`.file, import.meta.filename);
    assertEquals(Error.stackTraceLimit, 0);
  } finally {
    Error.stackTraceLimit = limit;
  }
});

Deno.test("NASM sees the text as it was written", () => {
  assertEquals(
    bytesOf(asm`
      db \`a\\n\n\`, "\${", '\\' ; the backtick and the dollar sign lose their backslash
      db 1, \
         2
    `),
    [0x61, 0x5c, 0x6e, 0x0a, 0x24, 0x7b, 0x5c, 0x5c, 1, 2],
  );
});

const RENDERED: [what: string, value: AsmValue, directive: "db" | "dq", bytes: number[]][] = [
  ["a number", 65, "db", [65]],
  ["zero with a sign", -0, "db", [0]],
  ["a negative number", -2, "db", [0xfe]],
  ["the largest safe integer", Number.MAX_SAFE_INTEGER, "dq", [
    ...[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0],
  ]],
  ["a bigint", 0x8000_0000_0000_0001n, "dq", [1, 0, 0, 0, 0, 0, 0, 0x80]],
  ["the smallest bigint", -(2n ** 63n), "dq", [0, 0, 0, 0, 0, 0, 0, 0x80]],
  ["a symbol", "seven", "db", [7]],
  ["bytes", new Uint8Array([1, 255, 0]), "db", [1, 255, 0]],
  ["no bytes", new Uint8Array(), "db", []],
  ["a view into a buffer", new Uint8Array([9, 8, 7, 6]).subarray(1, 3), "db", [8, 7]],
];
for (const [what, value, directive, bytes] of RENDERED) {
  Deno.test(`interpolated ${what} becomes its value`, () => {
    const source = asm`
      seven equ 7
      ${directive} 0x11, ${value}
    `;
    const first = directive === "db" ? [0x11] : [0x11, 0, 0, 0, 0, 0, 0, 0];
    assertEquals(bytesOf(source), [...first, ...bytes]);
  });
}

Deno.test("what is interpolated is taken when the literal is written", () => {
  const bytes = new Uint8Array([1]);
  const source = asm`db ${bytes}`;
  bytes[0] = 2;
  assertEquals(bytesOf(source), [1]);
});

const REFUSED: [
  what: string,
  value: unknown,
  error: typeof TypeError | typeof RangeError,
  message: string,
][] = [
  ["undefined", undefined, TypeError, "is undefined"],
  ["null", null, TypeError, "is null"],
  ["true", true, TypeError, "${Number(flag)}"],
  ["an object", { port: 1 }, TypeError, "is an object."],
  ["an object of a class", new Date(0), TypeError, "an object (Date)"],
  ["an object without a prototype", Object.create(null), TypeError, "is an object."],
  ["an array", [1, 2], TypeError, "is an array. For bytes give a Uint8Array"],
  ["words", new Uint16Array(1), TypeError, "(Uint16Array). For bytes give a Uint8Array"],
  ["a buffer", new ArrayBuffer(1), TypeError, "For bytes give a Uint8Array"],
  ["a boxed string", new String("ax"), TypeError, "an object (String)"],
  ["a function", () => 1, TypeError, "is a function"],
  ["a JavaScript symbol", Symbol("ax"), TypeError, "is a symbol"],
  ["NaN", NaN, TypeError, "is not a whole number"],
  ["an infinite number", Infinity, TypeError, "is not a whole number"],
  ["a fraction", 1.5, TypeError, "is not a whole number"],
  ["an inexact integer", 2 ** 53, RangeError, "write it as a bigint"],
  ["a bigint of 65 bits", 2n ** 64n, RangeError, "does not fit 64 bits"],
  ["a bigint below 64 bits", -(2n ** 63n) - 1n, RangeError, "does not fit 64 bits"],
  ["an empty string", "", TypeError, "is not the name of a symbol"],
  ["a text", "hello world", TypeError, "new TextEncoder().encode(text)"],
  ["an instruction", "mov ax, 1", TypeError, "interpolate another asm literal"],
  ["a string with a line break", "ax\nhlt", TypeError, "is not the name"],
  ["a name with a line break behind it", "ax\n", TypeError, "is not the name"],
  ["a number in a string", "12", TypeError, "is not the name"],
];
for (const [what, value, error, message] of REFUSED) {
  Deno.test(`interpolated ${what} is refused where it stands`, () => {
    const thrown = assertThrows(
      () => {
        asm`
          mov ax, ${1}
          mov bx, ${value as AsmValue} ; @refused
        `;
      },
      error,
      message,
    );
    const line = markedLine(import.meta.url, "refused");
    assertStringIncludes(thrown.message, `interpolation 2 (${import.meta.filename}:${line})`);
    assertStringIncludes(thrown.message, "Cannot use ");
  });
}

Deno.test("asm called as a function says that it is a tag", () => {
  const call = asm as unknown as (text: string) => void;
  assertThrows(() => call("nop"), TypeError, "it is a template tag");
});

Deno.test("a literal spliced into another keeps its own lines", () => {
  const inner = asm`
    mov al, 1
    mov al, 2 ; @inner
  `;
  const outer = asm`
    first: ${inner} ; twice
    ${inner}
    mov al, 3 ; @outer
  `;
  const image = outer.assemble();
  const texts = image.lines.map(({ text, line }) => [text.replace(/ *;.*/, ""), line]);
  const innerLine = markedLine(import.meta.url, "inner");
  const outerLine = markedLine(import.meta.url, "outer");
  const twice = [["mov al, 1", innerLine - 1], ["mov al, 2", innerLine]];
  assertEquals(texts, [...twice, ...twice, ["mov al, 3", outerLine]]);
  assertEquals(image.symbols.first, 0n);
});

Deno.test("a literal may consist of another alone, and be spliced on its first and last line", () => {
  const inner = asm`nop`;
  assertEquals(bytesOf(asm`${inner}`), [0x90]);
  assertEquals(
    bytesOf(asm`${inner}
    ${inner}`),
    [0x90, 0x90],
  );
});

Deno.test("a literal inside a line, or beside another, is refused", () => {
  const inner = asm`nop`;
  const message = "must stand on a line of its own";
  assertThrows(() => asm`mov ax, ${inner}`, TypeError, message);
  assertThrows(() => asm`; ${inner}`, TypeError, message);
  assertThrows(() => asm`${inner} nop`, TypeError, message);
  assertThrows(() => asm`${inner} ${inner}`, TypeError, message);
  assertThrows(() => asm`${inner} ${5}`, TypeError, message);
  assertThrows(() => asm`${"name"}: ${inner}`, TypeError, message);
});

Deno.test("a literal inside a macro or a repetition is refused, behind one it is not", () => {
  const inner = asm`nop`;
  assertThrows(
    () =>
      asm`
        %macro twice 0
          ${inner}
        %endmacro
      `,
    TypeError,
    "inside a %macro or %rep",
  );
  assertThrows(
    () =>
      asm`
        %rep ${2}
          ${inner}
        %endrep
      `,
    TypeError,
    "interpolation 2",
  );
  assertEquals(
    bytesOf(asm`
      %rep 2
        hlt
      %endrep
      ${inner}
    `),
    [0xf4, 0xf4, 0x90],
  );
});

Deno.test("an interpolation of several lines does not shift the lines after it", () => {
  const source = asm`
    mov ax, ${
    [
      1,
      2,
    ].reduce((sum, item) => sum + item)
  }
    ${asm`
      nop ; @within`}
    hlt ; @shifted
  `;
  const lines = source.assemble().lines;
  assertEquals(lines.map(({ line }) => line), [
    markedLine(import.meta.url, "shifted") - 8,
    markedLine(import.meta.url, "within"),
    markedLine(import.meta.url, "shifted"),
  ]);
});

Deno.test("a number of several lines does not shift the lines after it", () => {
  const source = asm`
    mov ax, ${
    [
      1,
      2,
    ].reduce((sum, item) => sum + item)
  } ; three
    hlt ; @after-number
  `;
  const { lines } = source.assemble();
  assertEquals(lines[1].line, markedLine(import.meta.url, "after-number"));
});

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
];
Deno.test("a source knows the width of code that it sets first", () => {
  for (const [source, bits] of DECLARED) {
    assertInstanceOf(source, AsmSource);
    assertEquals(source.declaredBits, bits as AsmSource["declaredBits"], source.text);
  }
});

Deno.test("a literal is given macros from outside, and knows its lines all the same", () => {
  const source = asm({ define: { FIXED: 1, TEXT: "'a', 'b'", EXTRA: true } })`
    %ifdef EXTRA
    db FIXED, TEXT ; @defined
    %endif
  `;
  const { bytes, lines } = source.assemble();
  assertEquals([...bytes], [1, 0x61, 0x62]);
  assertEquals(lines[0].line, markedLine(import.meta.url, "defined"));
});

const UNDEFINABLE: [what: string, define: Record<string, unknown>, message: string][] = [
  ["a name that is none", { "a b": 1 }, 'Cannot define "a b"'],
  ["a fraction", { A: 1.5 }, "the macro A is not a whole number"],
  ["a text of two lines", { A: "1\nhlt" }, "has one line"],
  ["nothing", { A: undefined }, "the macro A is undefined"],
  ["a list", { A: [1] }, "the macro A is an array"],
];
for (const [what, define, message] of UNDEFINABLE) {
  Deno.test(`a macro of ${what} is refused`, () => {
    assertThrows(() => asm({ define } as never), TypeError, message);
  });
}

Deno.test("errors about what is interpolated start at the line of the literal", () => {
  const error = assertThrows(() => asm`db ${1.5}` /* ; @fraction */);
  assertEquals(
    firstFrame(error as Error),
    `${import.meta.url}:${markedLine(import.meta.url, "fraction")}`,
  );
});

Deno.test("NASM's errors start at the line that has it assembled", () => {
  const source = asm`mov nosuch`;
  const error = assertThrows(() => source.assemble(), AssemblyError /* ; @assembled */);
  assertEquals(
    firstFrame(error as Error),
    `${import.meta.url}:${markedLine(import.meta.url, "assembled")}`,
  );
});

Deno.test("local labels before the first label are their own", () => {
  const { symbols } = asm`
    .next: jmp .done
    .done: hlt
    first: nop
    last: nop
    .next: nop
  `.assemble();
  assertEquals({ ...symbols }, { ".next": 0n, ".done": 2n, first: 3n, last: 4n, "last.next": 5n });
  assertThrows(() => asm`jmp .nowhere`.assemble(), Error, "symbol `.nowhere' not defined");
});
