import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { DebugInfo } from "../../../lib/guest/debug/debug_info.ts";
import { openElf, readTable } from "../../../lib/guest/elf_file.ts";
import { Image } from "../../../lib/guest/image.ts";
import { FREESTANDING, run, TestFolder } from "./kernels.ts";
import { type ToolHost, toolHost, type ToolResult } from "../../../lib/guest/tool.ts";

const ASSEMBLY = `bits 64
global _start
_start:
  nop
  call inner
  hlt

inner:
%rep 2
  mov al, 1
%endrep
  ret
`;

const C = `static int add(int a, int b) {
  return a + b;
}

void _start(void) {
  add(1, 2);
  for (;;) {}
}
`;

/** The lines of a program that is built in a folder of its own: number, text, and label at its address. */
function linesOf(name: string, source: string, build: (source: string, elf: string) => void) {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit lines" });
  try {
    const file = `${folder}/${name}`;
    Deno.writeTextFileSync(file, source);
    build(file, `${folder}/elf`);
    const image = Image.elf(`${folder}/elf`);
    for (const line of image.lines) assertEquals(line.file, file);
    const texts = source.split("\n");
    assertEquals(texts.map((_, index) => image.sourceText(file, index + 1)), texts);
    assertEquals(image.sourceText(file, texts.length + 1), undefined);
    return image.lines.map(({ address, line, text }) => {
      const symbol = image.symbolAt(address);
      return [line, text, symbol?.offset === 0 ? symbol.name : ""];
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("NASM's debug information has the lines of assembly", () => {
  const lines = linesOf("boot.asm", ASSEMBLY, (source, elf) => {
    run("nasm", "-f", "elf64", "-g", "-F", "dwarf", "-o", `${elf}.o`, source);
    run("ld", "-static", "-Ttext=0x100000", "-o", elf, `${elf}.o`);
  });
  assertEquals(lines.slice(0, 3), [[4, "nop", "_start"], [5, "call inner", ""], [6, "hlt", ""]]);
  assertEquals(lines[3].slice(1), ["mov al, 1", "inner"]);
  assertEquals(lines.at(-1), [12, "ret", ""]);
});

for (
  const format of [
    "-gdwarf-2",
    "-gdwarf-3",
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-4 -gdwarf64",
    "-g -gz",
  ]
) {
  Deno.test(`a C compiler's debug information has the lines of C: ${format}`, () => {
    const lines = linesOf("kernel.c", C, (source, elf) => {
      run("gcc", ...format.split(" "), ...FREESTANDING, "-o", elf, source);
    });
    assertEquals(lines[0], [1, "static int add(int a, int b) {", "add"]);
    const start = lines.find(([, , label]) => label === "_start");
    assertEquals(start?.slice(0, 2), [5, "void _start(void) {"]);
    for (const [line, text] of [[2, "return a + b;"], [6, "add(1, 2);"], [7, "for (;;) {}"]]) {
      assert(lines.some((each) => each[0] === line && each[1] === text), `${line}`);
    }
  });
}

/** A DebugInfo of bytes that are said to have lines, on a host that answers so. */
function infoOf(bytes: Uint8Array<ArrayBuffer>, run: ToolHost["run"] = toolHost.run): DebugInfo {
  return new DebugInfo({ file: { bytes, sizeOf: () => 1 } }, { libc: toolHost.libc, run });
}

const NOTHING = new Uint8Array(64);

Deno.test("what keeps a reader from reading is noted, and nothing is thrown", () => {
  const cases: [note: RegExp, run: ToolHost["run"]][] = [
    [/^readelf is not there: apt-get install binutils/, () => {
      throw new Deno.errors.NotFound();
    }],
    [/^readelf is not there/, answer({ code: 127 })],
    [/^readelf did not end in 30 s$/, answer({ code: 124 })],
    [/^readelf was ended by signal 11$/, answer({ code: 139 })],
    [/^readelf could not be run: Out of everything$/, () => {
      throw new Error("Out of everything");
    }],
    [/^readelf: Not an ELF file/, toolHost.run],
  ];
  for (const [note, run] of cases) {
    const info = infoOf(NOTHING, run);
    assertEquals(info.rows(() => true), []);
    assertMatch(info.notes[0], note);
    assertEquals(info.framesAt([0x1000n]), [[]]);
  }
});

const answer = (result: Partial<ToolResult>) => (command: string): ToolResult => ({
  command,
  code: 0,
  stdout: "",
  stderr: "",
  ...result,
});

Deno.test("a table of lines that would be too much text is not read as a whole, and that is noted", () => {
  const info = new DebugInfo({ file: { bytes: NOTHING, sizeOf: () => 9 << 20 } }, {
    libc: toolHost.libc,
    run: () => {
      throw new Error("it was read");
    },
  });
  assertEquals(info.rows(() => true), []);
  assertEquals(info.notes, [".debug_line: 9 MiB, more than is read as a whole (8 MiB)"]);
});

Deno.test("whatever an ELF file's debug information holds, reading it ends, with lines or a note", () => {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit lines" });
  try {
    Deno.writeTextFileSync(`${folder}/kernel.c`, C);
    run("gcc", "-g", ...FREESTANDING, "-o", `${folder}/elf`, `${folder}/kernel.c`);
    const file = Deno.readFileSync(`${folder}/elf`);
    const { start, end } = debugBytes(file);
    const mutation = fc.record({ at: fc.integer({ min: start, max: end - 1 }), byte: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 40 }), (mutations) => {
        const mutated = file.slice();
        for (const { at, byte } of mutations) mutated[at] = byte;
        const image = Image.fromElf(mutated);
        for (const { length, line } of image.lines) assert(length > 0 && line > 0);
        image.framesAt([image.entry, image.entry + 4n]);
        for (const note of image.debugNotes) assertMatch(note, /^[^\n]+$/);
      }),
      { numRuns: 30 },
    );
    const cut = file.slice();
    cut.fill(0xff, start, end);
    const image = Image.fromElf(cut);
    assertEquals(image.lines, []);
    assert(image.debugNotes.length > 0, "it is not said why there are no lines");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

// elf.h
const SHT_PROGBITS = 1;
const SHF_ALLOC = 2n;

/** Where the sections of debug information lie in a file: no segment loads them, and they follow each other. */
function debugBytes(file: Uint8Array<ArrayBuffer>): { start: number; end: number } {
  const { structs, header } = openElf(file);
  const sections = readTable(file, structs.sectionHeader, {
    offset: header.e_shoff,
    count: header.e_shnum,
    entrySize: header.e_shentsize,
    what: "a section header",
  });
  const debug = sections.filter(({ sh_type, sh_flags }) =>
    sh_type === SHT_PROGBITS && (BigInt(sh_flags) & SHF_ALLOC) === 0n
  );
  const starts = debug.map(({ sh_offset }) => Number(sh_offset));
  const ends = debug.map(({ sh_offset, sh_size }) => Number(sh_offset) + Number(sh_size));
  return { start: Math.min(...starts), end: Math.max(...ends) };
}

Deno.test("what lies between functions is of no line", () => {
  using folder = new TestFolder();
  const file = `${folder.path}/apart.c`;
  Deno.writeTextFileSync(
    file,
    `__attribute__((aligned(64))) void first(void) {}
__attribute__((aligned(64))) void _start(void) { first(); }
`,
  );
  run("gcc", "-g", "-ffunction-sections", ...FREESTANDING, "-o", `${file}.elf`, file);
  const image = Image.elf(`${file}.elf`);
  const [first, start] = [image.symbol("first"), image.symbol("_start")].sort();
  assertEquals(start - first, 64n);
  assertEquals([first, start].map((address) => image.lineOf(address)?.line), [1, 2]);
  assertEquals(image.lineOf(start - 1n), undefined);
});
