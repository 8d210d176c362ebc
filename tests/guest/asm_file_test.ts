import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { asm } from "../../lib/guest/asm.ts";
import { assemble } from "../../lib/guest/assemble.ts";
import { AssemblyError } from "../../lib/guest/diagnostic.ts";
import type { AsmSource } from "../../lib/guest/asm_source.ts";
import { DiskCache, ImageCache } from "../../lib/guest/image_cache.ts";
import { firstFrame, markedLine } from "./marked_line.ts";
import { countingAssembler } from "./counting_assembler.ts";

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
