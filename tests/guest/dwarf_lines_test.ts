import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { readDwarfLines } from "../../lib/guest/dwarf_lines.ts";
import { Image } from "../../lib/guest/image.ts";

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

function run(command: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(command, { args }).outputSync();
  assert(success, `${command}: ${new TextDecoder().decode(stderr)}`);
}

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

for (const format of ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -gdwarf64"]) {
  Deno.test(`a C compiler's debug information has the lines of C: ${format}`, () => {
    const lines = linesOf("kernel.c", C, (source, elf) => {
      const options = ["-O0", "-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-pie"];
      run("gcc", ...format.split(" "), ...options, "-Wl,-Ttext=0x100000", "-o", elf, source);
    });
    assertEquals(lines[0], [1, "static int add(int a, int b) {", "add"]);
    const start = lines.find(([, , label]) => label === "_start");
    assertEquals(start?.slice(0, 2), [5, "void _start(void) {"]);
    for (const [line, text] of [[2, "return a + b;"], [6, "add(1, 2);"], [7, "for (;;) {}"]]) {
      assert(lines.some((each) => each[0] === line && each[1] === text), `${line}`);
    }
  });
}

/** A table of one file and three lines, version 3. */
const TABLE = [
  ...[51, 0, 0, 0, 3, 0, 23, 0, 0, 0, 1, 1, 0xfb, 14, 10],
  ...[0, 1, 1, 1, 1, 0, 0, 0, 1],
  ...[0, ...new TextEncoder().encode("a.c"), 0, 0, 0, 0, 0],
  ...[0, 9, 2, 0, 0, 0x10, 0x80, 0xff, 0xff, 0xff, 0xff], // set_address
  ...[3, 4, 1], // advance_line, copy
  ...[0x0a + 5 + 1 + 14], // special: an address and a line further
  ...[2, 3, 0, 1, 1], // advance_pc, end_sequence
];

const read = (table: readonly number[]) =>
  readDwarfLines({
    lines: new Uint8Array(table),
    lineStrings: new Uint8Array(),
    strings: new Uint8Array(),
  });

Deno.test("lines of the upper half are exact", () => {
  assertEquals(read([TABLE.length - 4, ...TABLE.slice(1)]), [
    { address: 0xffff_ffff_8010_0000n, length: 1, file: "a.c", line: 5, text: "" },
    { address: 0xffff_ffff_8010_0001n, length: 3, file: "a.c", line: 6, text: "" },
  ]);
});

Deno.test("whatever a table of lines holds, reading it ends", () => {
  const table = [TABLE.length - 4, ...TABLE.slice(1)];
  const mutation = fc.tuple(fc.nat(table.length - 1), fc.nat(255));
  fc.assert(
    fc.property(
      fc.array(mutation, { minLength: 1, maxLength: 6 }),
      fc.nat(table.length),
      (mutations, length) => {
        const mutated = table.slice(0, Math.max(length, 20));
        for (const [offset, byte] of mutations) {
          if (offset < mutated.length) mutated[offset] = byte;
        }
        for (const line of read(mutated)) assert(line.length > 0);
      },
    ),
    { numRuns: 2000 },
  );
});
