import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm, type AsmValue } from "../../lib/guest/asm.ts";
import type { AsmSource } from "../../lib/guest/asm_source.ts";
import { assemble } from "../../lib/guest/assemble.ts";
import { AssemblyError } from "../../lib/guest/diagnostic.ts";
import { DiskCache, ImageCache } from "../../lib/guest/image_cache.ts";
import { countingAssembler } from "./counting_assembler.ts";
import { firstFrame, markedLine } from "./marked_line.ts";

const bytesOf = (source: AsmSource) => [...source.assemble().bytes];

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
  ["nothing", { A: undefined }, "Cannot define A as undefined"],
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

/** A folder of source files, gone at the end of the block. The name has what a makefile rule must escape. */
function folderWith(files: Record<string, string | Uint8Array>): { path: string } & Disposable {
  const path = Deno.makeTempDirSync({ prefix: "vmexit guest$ #" });
  for (const [name, content] of Object.entries(files)) {
    const file = `${path}/${name}`;
    Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") Deno.writeTextFileSync(file, content);
    else Deno.writeFileSync(file, content);
  }
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

const linesOf = (source: AsmSource) =>
  source.assemble().lines.map(({ file, line, text }) => [file, line, text]);

Deno.test("a file is assembled, with its own lines", () => {
  using folder = folderWith({ "boot.asm": "bits 32\n\nstart: mov eax, 1\n  hlt" });
  const file = `${folder.path}/boot.asm`;
  const source = asm.file(file);
  assertEquals([source.file, source.line, source.declaredBits], [file, 1, 32]);
  assertEquals(linesOf(source), [[file, 3, "start: mov eax, 1"], [file, 4, "hlt"]]);
});

Deno.test("a file is named by a path, a URL, or the text of a URL", () => {
  using folder = folderWith({ "boot.asm": "hlt\r\n" });
  const url = new URL(`file://${encodeURI(folder.path).replace("#", "%23")}/boot.asm`);
  for (const name of [`${folder.path}/boot.asm`, url, url.href]) {
    assertEquals([...asm.file(name).assemble().bytes], [0xf4]);
  }
});

Deno.test("a relative path counts from the module that calls", () => {
  assertEquals(asm.file("./x/../marked_line.ts").file, `${import.meta.dirname}/marked_line.ts`);
});

Deno.test("what is no local file is refused", () => {
  const wrong = (path: unknown) => () => asm.file(path as string);
  assertThrows(wrong("https://example.com/boot.asm"), TypeError, "no file of this machine");
  assertThrows(wrong(undefined), TypeError, "give a path or a file: URL");
});

Deno.test("a file that is not there is named at the line that asks for it", () => {
  const error = assertThrows(() => asm.file("./nosuch.asm"), Deno.errors.NotFound); // ; @nosuch
  assertStringIncludes(error.message, `Cannot read ${import.meta.dirname}/nosuch.asm`);
  assertEquals(firstFrame(error), `${import.meta.url}:${markedLine(import.meta.url, "nosuch")}`);
});

Deno.test("a file that has gone since is named", () => {
  using folder = folderWith({ "boot.asm": "hlt" });
  const source = asm.file(`${folder.path}/boot.asm`);
  Deno.removeSync(source.file);
  assertThrows(() => source.assemble(), Deno.errors.NotFound, source.file);
});

Deno.test("macros are defined from outside", () => {
  using folder = folderWith({ "boot.asm": "%ifdef EXTRA\n  nop\n%endif\n  db FIXED, REST\n" });
  const bytes = (define: Record<string, number | bigint | string | true>) => [
    ...asm.file(`${folder.path}/boot.asm`, { define }).assemble().bytes,
  ];
  assertEquals(bytes({ FIXED: 1, REST: "2, 3" }), [1, 2, 3]);
  assertEquals(bytes({ FIXED: 4n, REST: "FIXED", EXTRA: true }), [0x90, 4, 4]);
  const source = asm.file(`${folder.path}/boot.asm`, { define: { FIXED: 1, REST: 2 } });
  assertEquals(source.assemble().lines[0].line, 4);
});

Deno.test("an option that asm.file does not have is refused", () => {
  const options = { defines: {} } as Record<string, unknown>;
  assertThrows(() => asm.file(import.meta.filename!, options), TypeError, "the option defines");
});

Deno.test("includes come from the file's folder and from further ones, and keep their lines", () => {
  using folder = folderWith({
    "guests/boot.asm": '%include "own.inc"\n  beside\n%include "other.inc"\nhlt\n',
    "guests/own.inc": "%macro beside 0\n  nop\n%endmacro\n  cli\n",
    "shared dir/other.inc": "\n  sti\n",
  });
  const source = asm.file(`${folder.path}/guests/boot.asm`, {
    include: [`${folder.path}/shared dir`],
  });
  const boot = `${folder.path}/guests/boot.asm`;
  assertEquals(linesOf(source), [
    [`${folder.path}/guests/own.inc`, 4, "cli"],
    [boot, 2, "nop"],
    [`${folder.path}/shared dir/other.inc`, 2, "sti"],
    [boot, 4, "hlt"],
  ]);
  const image = source.assemble();
  assertEquals(
    [[`${folder.path}/guests/own.inc`, 2], [boot, 1], [boot, 2]].map(([file, line]) =>
      image.sourceText(String(file), Number(line))
    ),
    ["  nop", '%include "own.inc"', "  beside"],
  );
});

Deno.test("an error in an included file names that file, and shows its line", () => {
  using folder = folderWith({
    "boot.asm": 'nop\n%include "broken.inc"\n',
    "broken.inc": "nop\n  mov ax, nowhere\n",
  });
  const error = assertThrows(
    () => asm.file(`${folder.path}/boot.asm`).assemble(),
    AssemblyError,
  );
  assertStringIncludes(error.message, `${folder.path}/broken.inc:2: error: `);
  assertStringIncludes(error.message, "\n      mov ax, nowhere\n");
});

Deno.test("an error in the file names its line, and so does a missing include", () => {
  using folder = folderWith({ "boot.asm": "nop\nmov bax, 1\n", "two.asm": '\n%include "no.inc"' });
  const failure = (name: string) =>
    assertThrows(() => asm.file(`${folder.path}/${name}`).assemble(), AssemblyError).message;
  assertStringIncludes(failure("boot.asm"), `${folder.path}/boot.asm:2: error: `);
  assertStringIncludes(failure("two.asm"), `${folder.path}/two.asm:2: error: unable to open`);
});

Deno.test("a file spliced into a literal keeps its lines and its includes", () => {
  using folder = folderWith({ "part.asm": '%include "n.inc"\nhlt', "n.inc": "nop" });
  const part = asm.file(`${folder.path}/part.asm`);
  const source = asm`
    cli
    ${part}
  `;
  assertEquals(linesOf(source).map(([file]) => file), [
    import.meta.filename!,
    `${folder.path}/n.inc`,
    `${folder.path}/part.asm`,
  ]);
});

Deno.test("a literal includes from the folder of its module", () => {
  const name = `include_${crypto.randomUUID()}.inc`;
  const path = `${import.meta.dirname}/${name}`;
  using _file = { [Symbol.dispose]: () => Deno.removeSync(path) };
  Deno.writeTextFileSync(path, "hlt");
  const text = `%include "${name}"`;
  const parts = Object.assign([text], { raw: [text] });
  assertEquals([...asm(parts).assemble().bytes], [0xf4]);
});

const EDITED: [what: string, file: string, main: string][] = [
  ["the file itself", "boot.asm", "db 1"],
  ["an included file", "a.inc", '%include "a.inc"\n'],
  ["a file that an included file includes", "b.inc", '%include "between.inc"\n'],
  ["an included binary", "a.bin", 'incbin "a.bin"\n'],
  ["a file whose name is a macro's", "c.inc", '%define NAME "c.inc"\n%include NAME\n'],
];
for (const [what, file, main] of EDITED) {
  Deno.test(`an edit of ${what} reassembles, and nothing else does`, () => {
    using folder = folderWith({
      "between.inc": '%include "b.inc"',
      "a.inc": "db 1",
      "b.inc": "db 1",
      "c.inc": "db 1",
      "a.bin": new Uint8Array([1]),
      "boot.asm": main,
    });
    const source = asm.file(`${folder.path}/boot.asm`);
    const counting = countingAssembler({ memory: new ImageCache() });
    const byte = () => assemble(source, {}, counting).bytes[0];
    assertEquals(byte(), 1);
    const runs = counting.runs.length;
    assertEquals(byte(), 1);
    assertEquals(counting.runs.length, runs);

    const edited = file === "a.bin" ? "\x02" : "db 2";
    Deno.writeTextFileSync(`${folder.path}/${file}`, edited);
    assertEquals(byte(), 2);
    assertEquals(byte(), 2);
    assertEquals(counting.runs.length, 2 * runs);
  });
}

const APPEARING: [what: string, name: string][] = [
  ["beside the file", "a.inc"],
  ["in an earlier folder", "first/a.inc"],
];
for (const [what, name] of APPEARING) {
  Deno.test(`an included file that appears ${what} takes the place of a later one`, () => {
    using folder = folderWith({
      "boot.asm": '%include "a.inc"',
      "first/x": "",
      "last/a.inc": "db 1",
    });
    const source = asm.file(`${folder.path}/boot.asm`, {
      include: [`${folder.path}/first`, `${folder.path}/last`],
    });
    for (const caches of [{ memory: new ImageCache() }, { disk: new DiskCache() }]) {
      const assembler = countingAssembler(caches);
      assertEquals([...assemble(source, {}, assembler).bytes], [1]);
      const { length } = assembler.runs;
      assertEquals([...assemble(source, {}, assembler).bytes], [1]);
      assertEquals(assembler.runs.length, length);
      const path = `${folder.path}/${name}`;
      Deno.writeTextFileSync(path, "db 2");
      assertEquals([...assemble(source, {}, assembler).bytes], [2]);
      Deno.removeSync(path);
      assertEquals([...assemble(source, {}, assembler).bytes], [1]);
    }
  });
}
