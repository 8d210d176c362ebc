import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ELF32, ELF64, type ElfStructs } from "../../lib/guest/elf_file.ts";
import { Image } from "../../lib/guest/image.ts";
import { firstFrame, markedLine } from "./marked_line.ts";

interface Segment {
  type?: number;
  virtual: number | bigint;
  physical: number | bigint;
  bytes: number[];
  size?: number | bigint;
}

interface SymbolEntry {
  name: string;
  value: number | bigint;
  section?: number;
  type?: number;
}

interface Executable {
  entry: number | bigint;
  machine?: number;
  type?: number;
  segments: Segment[];
  symbols?: SymbolEntry[];
}

const EI_NIDENT = 16;
const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const TEXT_SECTION = 1;

/** Lays an executable out: headers, the segments' bytes, symbols and their names, section headers. */
function elfFile(structs: ElfStructs, file: Executable): Uint8Array<ArrayBuffer> {
  const is64 = structs === ELF64;
  const { header, programHeader, sectionHeader, symbol } = structs;
  const word = (value: number | bigint) => (is64 ? BigInt(value) : Number(value)) as number;
  const content = new Uint8Array(4096);
  const view = new DataView(content.buffer);
  let end = header.size + file.segments.length * programHeader.size;
  const append = (bytes: ArrayLike<number>) => {
    content.set(bytes, end);
    end += bytes.length;
    return end - bytes.length;
  };
  for (const [index, segment] of file.segments.entries()) {
    const offset = append(segment.bytes);
    programHeader.write(view, header.size + index * programHeader.size, {
      p_type: segment.type ?? 1,
      p_offset: word(offset),
      p_vaddr: word(segment.virtual),
      p_paddr: word(segment.physical),
      p_filesz: word(segment.bytes.length),
      p_memsz: word(segment.size ?? segment.bytes.length),
    });
  }
  const symbols = file.symbols ?? [];
  const names = "\0" + symbols.map(({ name }) => `${name}\0`).join("");
  const namesOffset = append(new TextEncoder().encode(names));
  const symbolsOffset = end;
  for (const { name, value, section = TEXT_SECTION, type = 0 } of symbols) {
    symbol.write(view, end, {
      st_name: names.indexOf(`\0${name}\0`) + 1,
      st_info: type,
      st_shndx: section,
      st_value: word(value),
    });
    end += symbol.size;
  }
  const sectionsOffset = end;
  const sections = [
    {},
    {
      sh_type: SHT_SYMTAB,
      sh_offset: word(symbolsOffset),
      sh_size: word(symbols.length * symbol.size),
      sh_link: 2,
      sh_entsize: word(symbol.size),
    },
    { sh_type: SHT_STRTAB, sh_offset: word(namesOffset), sh_size: word(names.length) },
  ];
  for (const section of sections) {
    sectionHeader.write(view, end, section);
    end += sectionHeader.size;
  }
  header.write(view, 0, {
    e_type: file.type ?? 2,
    e_machine: file.machine ?? (is64 ? 62 : 3),
    e_entry: word(file.entry),
    e_phoff: word(header.size),
    e_shoff: word(sectionsOffset),
    e_phentsize: programHeader.size,
    e_phnum: file.segments.length,
    e_shentsize: sectionHeader.size,
    e_shnum: sections.length,
  });
  content.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1], 0);
  assert(end <= content.length && EI_NIDENT <= header.size);
  return content.slice(0, end);
}

const SIMPLE: Executable = {
  entry: 0x10_0001,
  segments: [
    { virtual: 0x10_0000, physical: 0x10_0000, bytes: [0x90, 0xf4] },
    { virtual: 0x20_0000, physical: 0x20_0000, bytes: [1, 2, 3], size: 0x1000 },
  ],
  symbols: [
    { name: "main", value: 0x10_0001, type: 2 },
    { name: "data", value: 0x20_0000, type: 1 },
    { name: "port", value: 0x3f8, section: 0xfff1 },
    { name: "elsewhere", value: 0, section: 0 },
    { name: "file.c", value: 0, type: 4 },
  ],
};

for (const [what, structs, bits] of [["32", ELF32, 32], ["64", ELF64, 64]] as const) {
  Deno.test(`an ELF executable of ${what} bits: segments, entry, symbols`, () => {
    const image = Image.fromElf(elfFile(structs, SIMPLE));
    assertEquals([image.origin, image.entry, image.bits], [0x10_0000n, 0x10_0001n, bits]);
    assertEquals(image.segments.map(({ address, bytes, size }) => [address, [...bytes], size]), [
      [0x10_0000n, [0x90, 0xf4], 2],
      [0x20_0000n, [1, 2, 3], 0x1000],
    ]);
    assertEquals(image.size, 0x10_1000);
    assertEquals({ ...image.symbols }, { main: 0x10_0001n, data: 0x20_0000n, port: 0x3f8n });
    assertEquals(image.symbolAt(0x20_0002), { name: "data", offset: 2 });
  });
}

const UPPER: Executable = {
  entry: 0xffff_ffff_8010_0001n,
  segments: [{ virtual: 0xffff_ffff_8010_0000n, physical: 0x10_0000, bytes: [0x90, 0xf4] }],
  symbols: [
    { name: "kernel", value: 0xffff_ffff_8010_0001n },
    { name: "upper", value: 0xffff_ffff_0000_0000n },
  ],
};

Deno.test("a kernel linked for the upper half lies and starts at physical addresses, and has its own names", () => {
  const image = Image.fromElf(elfFile(ELF64, UPPER));
  assertEquals([image.origin, image.entry], [0x10_0000n, 0x10_0001n]);
  assertEquals(image.segments[0].address, 0xffff_ffff_8010_0000n);
  assertEquals({ ...image.symbols }, {
    kernel: 0xffff_ffff_8010_0001n,
    upper: 0xffff_ffff_0000_0000n,
  });
  assertEquals(image.symbolAt(0xffff_ffff_8010_0001n), { name: "kernel", offset: 0 });
  assertEquals([...image.bytes], [0x90, 0xf4]);
});

Deno.test("a kernel of the upper half may lie and start at virtual addresses", () => {
  const image = Image.fromElf(elfFile(ELF64, UPPER), { addresses: "virtual" });
  assertEquals([image.origin, image.entry], [0xffff_ffff_8010_0000n, 0xffff_ffff_8010_0001n]);
  assertEquals(image.symbols.kernel, image.entry);
  const low = elfFile(ELF64, {
    entry: 0x40_0000,
    segments: [{ virtual: 0x40_0000, physical: 0, bytes: [0xf4] }],
  });
  assertEquals(Image.fromElf(low, { addresses: "virtual" }).origin, 0x40_0000n);
  assertEquals(Image.fromElf(low).entry, 0n);
});

Deno.test("segments that are not loaded, or empty, do not count", () => {
  const file = elfFile(ELF64, {
    entry: 0,
    segments: [
      { type: 4, virtual: 0x9000, physical: 0x9000, bytes: [1] },
      { virtual: 0x5000, physical: 0x5000, bytes: [] },
      { virtual: 0x1000, physical: 0x1000, bytes: [0xf4] },
    ],
  });
  assertEquals(Image.fromElf(file).segments.length, 1);
});

const valid = elfFile(ELF64, SIMPLE);
/** The file with bytes replaced. */
const patched = (offset: number, ...bytes: number[]) => {
  const file = valid.slice();
  file.set(bytes, offset);
  return file;
};
const { header, programHeader } = ELF64;
const inHeader = (field: Parameters<typeof header.offsetOf>[0]) => header.offsetOf(field);
const inSegment = (field: Parameters<typeof programHeader.offsetOf>[0]) =>
  header.size + programHeader.offsetOf(field);

const REFUSED: [
  what: string,
  file: Uint8Array,
  error: typeof TypeError | typeof RangeError,
  message: string,
][] = [
  ["empty", new Uint8Array(), TypeError, "Image.fromBytes"],
  ["a flat binary", new Uint8Array(512), TypeError, "Image.fromBytes"],
  ["of an unknown class", patched(4, 3), TypeError, "its class is 3"],
  ["big-endian", patched(5, 2), TypeError, "its byte order 2"],
  ["cut in its header", valid.slice(0, 40), RangeError, "its header reaches to byte 64 of 40"],
  ["for ARM", patched(inHeader("e_machine"), 183), TypeError, "for machine 183, not for x86"],
  ["an object file", patched(inHeader("e_type"), 1), TypeError, "not linked yet; link it"],
  ["a core dump", patched(inHeader("e_type"), 4), TypeError, "of type 4"],
  ["without segments", patched(inHeader("e_phnum"), 0), TypeError, "no segment to load"],
  [
    "with program headers behind its end",
    patched(inHeader("e_phoff"), 0xff, 0xff, 0xff),
    RangeError,
    "a program header (`e_phoff`, `e_phentsize`) reaches to byte",
  ],
  [
    "with program headers that are too small",
    patched(inHeader("e_phentsize"), 8),
    RangeError,
    "a program header (`e_phoff`, `e_phentsize`) has 8 bytes and needs 56",
  ],
  [
    "with a segment behind its end",
    patched(inSegment("p_offset"), 0xff, 0xff),
    RangeError,
    "`p_offset` + `p_filesz` of a segment reaches to byte",
  ],
  [
    "with a segment larger in the file than in memory",
    patched(inSegment("p_filesz"), 3),
    RangeError,
    "`p_filesz` of a segment is 3, above its `p_memsz`, 2",
  ],
  [
    "with a segment of more than 2^53 bytes",
    patched(inSegment("p_memsz") + 7, 0x80),
    RangeError,
    "`p_memsz` of a segment is 0x8000000000000002",
  ],
  [
    "with segments that overlap",
    patched(inSegment("p_memsz") + 2, 0x20),
    RangeError,
    "overlap",
  ],
  [
    "with section headers behind its end",
    patched(inHeader("e_shoff"), 0xff, 0xff, 0xff),
    RangeError,
    "a section header (`e_shoff`, `e_shentsize`) reaches to byte",
  ],
];
for (const [what, file, error, message] of REFUSED) {
  Deno.test(`an ELF file that is ${what} is refused`, () => {
    assertThrows(() => Image.fromElf(file), error, message);
  });
}

Deno.test("whatever becomes of an ELF file, it loads or is refused in our words", () => {
  const mutation = fc.tuple(fc.nat(valid.length - 1), fc.nat(255));
  fc.assert(
    fc.property(
      fc.constantFrom(valid, elfFile(ELF32, SIMPLE)),
      fc.array(mutation, { minLength: 1, maxLength: 6 }),
      fc.option(fc.nat(valid.length), { freq: 4 }),
      (file, mutations, length) => {
        const mutated = file.slice(0, length ?? file.length);
        for (const [offset, byte] of mutations) {
          if (offset < mutated.length) mutated[offset] = byte;
        }
        try {
          Image.fromElf(mutated);
        } catch (error) {
          assert(error instanceof TypeError || error instanceof RangeError, String(error));
          assert(error.message.startsWith("Cannot "), error.message);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("an ELF file is read from beside the test, and refused at the line that asks for it", () => {
  const path = `${import.meta.dirname}/elf_${crypto.randomUUID()}.elf`;
  using _file = { [Symbol.dispose]: () => Deno.removeSync(path) };
  Deno.writeFileSync(path, valid);
  const name = path.slice(path.lastIndexOf("/") + 1);
  assertEquals(Image.elf(`./${name}`).symbol("main"), Image.fromElf(valid).symbol("main"));
  const missing = assertThrows(() => Image.elf("nosuch.elf") /* ; @missing */);
  const damaged = assertThrows(() => Image.fromElf(new Uint8Array(4)) /* ; @damaged */);
  assert(missing instanceof Deno.errors.NotFound);
  assert(missing.message.startsWith(`Cannot read ${import.meta.dirname}/nosuch.elf: `));
  for (const [error, mark] of [[missing, "missing"], [damaged, "damaged"]] as const) {
    const line = markedLine(import.meta.url, mark);
    assertEquals(firstFrame(error as Error), `${import.meta.url}:${line}`);
  }
});

Deno.test("options and files of another kind are refused", () => {
  const wrong = { addresses: "phyiscal" as "physical" };
  assertThrows(() => Image.fromElf(valid, wrong), TypeError, "at phyiscal addresses");
  assertThrows(() => Image.fromElf("k.elf" as never), TypeError, "its path to Image.elf");
});
