import { array } from "../ffi/array.ts";
import type { CType, StructLayout } from "../ffi/c_type.ts";
import { u16, u32, u64, u8 } from "../ffi/scalar.ts";
import { type Struct, struct } from "../ffi/struct.ts";
import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { hex } from "../x86/hex.ts";
import { readDwarfLines, SourceTexts } from "./dwarf_lines.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import type { ImageInit, SourceLine } from "./image_init.ts";

/** A value that is 32 bits wide in one class of ELF files (a number) and 64 in the other (a bigint). */
export type ElfWord = number | bigint;

/** `Elf32_Ehdr` and `Elf64_Ehdr`, as far as a loader needs them. */
export interface ElfHeader {
  /** `ET_EXEC` and its like. */
  readonly e_type: number;
  /** For which CPU. */
  readonly e_machine: number;
  /** The virtual address where execution starts. */
  readonly e_entry: ElfWord;
  /** Where the program headers lie in the file. */
  readonly e_phoff: ElfWord;
  /** Where the section headers lie in the file. */
  readonly e_shoff: ElfWord;
  /** The bytes of a program header. */
  readonly e_phentsize: number;
  /** How many program headers. */
  readonly e_phnum: number;
  /** The bytes of a section header. */
  readonly e_shentsize: number;
  /** How many section headers. */
  readonly e_shnum: number;
  /** The index of the section with their names. */
  readonly e_shstrndx: number;
}

/** `Elf32_Phdr` and `Elf64_Phdr`. */
export interface ElfProgramHeader {
  /** `PT_LOAD` and its like. */
  readonly p_type: number;
  /** Where its bytes lie in the file. */
  readonly p_offset: ElfWord;
  /** Its virtual address. */
  readonly p_vaddr: ElfWord;
  /** Its physical address. */
  readonly p_paddr: ElfWord;
  /** Its bytes in the file. */
  readonly p_filesz: ElfWord;
  /** Its bytes in memory. */
  readonly p_memsz: ElfWord;
}

/** `Elf32_Shdr` and `Elf64_Shdr`, as far as symbols and lines need them. */
export interface ElfSectionHeader {
  /** Where its name lies in the section of names. */
  readonly sh_name: number;
  /** `SHF_COMPRESSED` and its like. */
  readonly sh_flags: ElfWord;
  /** `SHT_SYMTAB` and its like. */
  readonly sh_type: number;
  /** Where its bytes lie in the file. */
  readonly sh_offset: ElfWord;
  /** Its bytes. */
  readonly sh_size: ElfWord;
  /** Of a symbol table: the index of its string table. */
  readonly sh_link: number;
  /** The bytes of an entry. */
  readonly sh_entsize: ElfWord;
}

/** `Elf32_Sym` and `Elf64_Sym`. */
export interface ElfSymbol {
  /** Where its name lies in the string table. */
  readonly st_name: number;
  /** Its binding and its type. */
  readonly st_info: number;
  /** The section it is defined in. */
  readonly st_shndx: number;
  /** Its virtual address, or its value. */
  readonly st_value: ElfWord;
}

/** A structure of which a loader needs the members of `Value`. */
export type ElfStruct<Value> = StructLayout & Pick<Struct<Value>, "read" | "write">;

/** The structures of one class of ELF files, as the System V ABI ("Object Files") and `elf.h` give them. */
export interface ElfStructs {
  /** The file header. */
  readonly header: ElfStruct<ElfHeader>;
  /** A program header. */
  readonly programHeader: ElfStruct<ElfProgramHeader>;
  /** A section header. */
  readonly sectionHeader: ElfStruct<ElfSectionHeader>;
  /** A symbol. */
  readonly symbol: ElfStruct<ElfSymbol>;
}

const headers = (word: CType<ElfWord>) => ({
  header: struct("Ehdr", {
    e_ident: array(u8, 16),
    e_type: u16,
    e_machine: u16,
    e_version: u32,
    e_entry: word,
    e_phoff: word,
    e_shoff: word,
    e_flags: u32,
    e_ehsize: u16,
    e_phentsize: u16,
    e_phnum: u16,
    e_shentsize: u16,
    e_shnum: u16,
    e_shstrndx: u16,
  }),
  sectionHeader: struct("Shdr", {
    sh_name: u32,
    sh_type: u32,
    sh_flags: word,
    sh_addr: word,
    sh_offset: word,
    sh_size: word,
    sh_link: u32,
    sh_info: u32,
    sh_addralign: word,
    sh_entsize: word,
  }),
});

/** The structures of `ELFCLASS32`. */
export const ELF32: ElfStructs = {
  ...headers(u32 as CType<ElfWord>),
  programHeader: struct("Elf32_Phdr", {
    p_type: u32,
    p_offset: u32,
    p_vaddr: u32,
    p_paddr: u32,
    p_filesz: u32,
    p_memsz: u32,
    p_flags: u32,
    p_align: u32,
  }),
  symbol: struct("Elf32_Sym", {
    st_name: u32,
    st_value: u32,
    st_size: u32,
    st_info: u8,
    st_other: u8,
    st_shndx: u16,
  }),
};

/** The structures of `ELFCLASS64`. */
export const ELF64: ElfStructs = {
  ...headers(u64 as CType<ElfWord>),
  programHeader: struct("Elf64_Phdr", {
    p_type: u32,
    p_flags: u32,
    p_offset: u64,
    p_vaddr: u64,
    p_paddr: u64,
    p_filesz: u64,
    p_memsz: u64,
    p_align: u64,
  }),
  symbol: struct("Elf64_Sym", {
    st_name: u32,
    st_info: u8,
    st_other: u8,
    st_shndx: u16,
    st_value: u64,
    st_size: u64,
  }),
};

/** How an ELF file is to be taken. */
export interface ElfOptions {
  /**
   * Where its segments are loaded and it starts. `"physical"`, the default: at the physical addresses of its segments
   * (`p_paddr`), as boot loaders and Firecracker place them. `"virtual"`: at the virtual ones (`p_vaddr`), wherever the
   * page tables that the machine boots with put those; a kernel in the upper half takes the option `mappings`.
   *
   * Its symbols have the linker's, virtual, addresses in any case: those that its code runs at once it has set paging
   * up.
   */
  readonly addresses?: "physical" | "virtual";
}

const ELF_OPTIONS: NamesOf<ElfOptions> = { addresses: "value" };

// elf.h
const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const EI_CLASS = 4;
const EI_DATA = 5;
const EI_NIDENT = 16;
const ELFDATA2LSB = 1;
const CLASSES: Readonly<Record<number, ElfStructs>> = { 1: ELF32, 2: ELF64 };
const ET = { REL: 1, EXEC: 2, DYN: 3 } as const;
const MACHINE_BITS: Readonly<Record<number, CodeBits>> = { 3: 32, 62: 64 };
const PT_LOAD = 1;
const ADDRESSES: readonly unknown[] = ["physical", "virtual"];

const LINK =
  "link it for the guest's addresses, for example with `ld -static -no-pie -Ttext=0x100000`";

/**
 * Reads an ELF executable. See `Image.fromElf`.
 *
 * @throws {TypeError} When it is not an executable for x86.
 * @throws {RangeError} When it is damaged: something in it points past its end.
 */
export function readElf(file: Uint8Array, options: ElfOptions = {}): ImageInit {
  checkOptions("load an ELF file", options, ELF_OPTIONS);
  const { addresses = "physical" } = options;
  if (!(file instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot load an ELF file from ${typeof file}: give its bytes, or its path to Image.elf`,
    );
  }
  if (!ADDRESSES.includes(addresses)) {
    throw new TypeError(
      `Cannot load an ELF file at ${String(addresses)} addresses: give "physical" or "virtual"`,
    );
  }
  const bytes = new Uint8Array(file);
  const structs = identify(bytes);
  const header = readAt(bytes, structs.header, 0n, "its header");
  const bits = checkHeader(header);
  const segments = readTable(bytes, structs.programHeader, {
    offset: header.e_phoff,
    count: header.e_phnum,
    entrySize: header.e_phentsize,
    what: "a program header",
  }).filter((segment) => segment.p_type === PT_LOAD && BigInt(segment.p_memsz) > 0n);
  if (segments.length === 0) {
    throw new TypeError(`Cannot load the ELF file: it has no segment to load; ${LINK}`);
  }
  const isVirtual = addresses === "virtual";
  const texts = new SourceTexts();
  return {
    segments: segments.map((segment) => ({
      address: BigInt(segment.p_vaddr),
      ...isVirtual || segment.p_vaddr === segment.p_paddr
        ? {}
        : { loadAddress: BigInt(segment.p_paddr) },
      bytes: contentOf(bytes, segment),
      size: sizeOf(segment),
    })),
    entry: isVirtual ? BigInt(header.e_entry) : physicalEntry(header, segments),
    bits,
    ...readElfSymbols({ bytes, structs, header }),
    lines: () => readElfLines({ bytes, structs, header }, texts),
    sourceText: (file, line) => texts.at(file, line),
  };
}

function physicalEntry({ e_entry }: ElfHeader, segments: readonly ElfProgramHeader[]): bigint {
  const entry = BigInt(e_entry);
  const home = segments.find(({ p_vaddr, p_memsz }) =>
    entry >= BigInt(p_vaddr) && entry < BigInt(p_vaddr) + BigInt(p_memsz)
  );
  return home === undefined ? entry : entry - BigInt(home.p_vaddr) + BigInt(home.p_paddr);
}

function identify(bytes: Uint8Array): ElfStructs {
  if (!MAGIC.every((byte, index) => bytes[index] === byte) || bytes.length < EI_NIDENT) {
    throw new TypeError(
      'Cannot load the file as ELF: it does not start with 0x7f "ELF"; a flat binary is taken by Image.fromBytes',
    );
  }
  const structs = CLASSES[bytes[EI_CLASS]];
  if (structs === undefined || bytes[EI_DATA] !== ELFDATA2LSB) {
    throw new TypeError(
      `Cannot load the ELF file: its class is ${bytes[EI_CLASS]} and its byte order ${
        bytes[EI_DATA]
      }; x86 has ` +
        "class 1 (32 bits) or 2 (64 bits) and byte order 1 (little-endian)",
    );
  }
  return structs;
}

function checkHeader(header: ElfHeader): CodeBits {
  const bits = MACHINE_BITS[header.e_machine];
  if (bits === undefined) {
    throw new TypeError(
      `Cannot load the ELF file: it is for machine ${header.e_machine}, not for x86 (3: i386, 62: x86-64)`,
    );
  }
  if (header.e_type === ET.EXEC) return bits;
  const kind = header.e_type === ET.REL
    ? "an object file, not linked yet"
    : header.e_type === ET.DYN
    ? "position-independent, so that it has to be relocated"
    : `of type ${header.e_type}, not an executable`;
  throw new TypeError(`Cannot load the ELF file: it is ${kind}; ${LINK}`);
}

function contentOf(
  bytes: Uint8Array<ArrayBuffer>,
  segment: ElfProgramHeader,
): Uint8Array<ArrayBuffer> {
  if (BigInt(segment.p_filesz) > BigInt(segment.p_memsz)) {
    throw new RangeError(
      `Cannot load the ELF file: a segment has ${segment.p_filesz} bytes in the file and room for ` +
        `${segment.p_memsz} in memory; it is damaged`,
    );
  }
  return slice(bytes, segment.p_offset, segment.p_filesz, "a segment").slice();
}

function sizeOf({ p_memsz }: ElfProgramHeader): number {
  if (BigInt(p_memsz) <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(p_memsz);
  throw new RangeError(
    `Cannot load the ELF file: the size of a segment is ${
      hex(p_memsz)
    }, beyond 2^53; it is damaged`,
  );
}

/** A file being read, with what every part of it needs. */
export interface ElfFile {
  /** The file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its class's structures. */
  readonly structs: ElfStructs;
  /** Its header. */
  readonly header: ElfHeader;
}

/** A part of the file. @throws {RangeError} When it reaches past its end. */
export function slice(
  bytes: Uint8Array<ArrayBuffer>,
  offset: ElfWord,
  size: ElfWord,
  what: string,
): Uint8Array<ArrayBuffer> {
  const end = BigInt(offset) + BigInt(size);
  if (end > BigInt(bytes.length)) {
    throw new RangeError(
      `Cannot load the ELF file: ${what} reaches to byte ${end} of ${bytes.length}; it is cut short or damaged`,
    );
  }
  return bytes.subarray(Number(offset), Number(end));
}

/** The entries of a table. @throws {RangeError} When one reaches past the file's end, or is too small. */
export function readTable<Value>(
  bytes: Uint8Array<ArrayBuffer>,
  type: ElfStruct<Value>,
  table: { offset: ElfWord; count: number; entrySize: ElfWord; what: string },
): Value[] {
  if (table.count > 0 && BigInt(table.entrySize) < BigInt(type.size)) {
    throw new RangeError(
      `Cannot load the ELF file: ${table.what} has ${table.entrySize} bytes and needs ${type.size}; it is damaged`,
    );
  }
  return Array.from({ length: table.count }, (_, index) => {
    const offset = BigInt(table.offset) + BigInt(index) * BigInt(table.entrySize);
    return readAt(bytes, type, offset, table.what);
  });
}

/** One structure. @throws {RangeError} When it reaches past the file's end. */
export function readAt<Value>(
  bytes: Uint8Array<ArrayBuffer>,
  type: ElfStruct<Value>,
  offset: bigint,
  what: string,
): Value {
  const part = slice(bytes, offset, type.size, what);
  return type.read(new DataView(part.buffer, part.byteOffset, part.length));
}

// elf.h
const SHT_SYMTAB = 2;
const SHT_NOBITS = 8;
const SHF_COMPRESSED = 0x800n;
const SHN = { UNDEF: 0, ABS: 0xfff1 } as const;
const SYMBOL_TYPE_MASK = 0xf;
/** `STT_NOTYPE`, `STT_OBJECT` and `STT_FUNC`: not the names of sections and files. */
const NAMED_TYPES: readonly number[] = [0, 1, 2];

/**
 * The names in an ELF file's symbol table: labels, at their virtual addresses, and constants. None where
 * it was stripped.
 *
 * @throws {RangeError} When the table points past the file's end.
 */
export function readElfSymbols(file: ElfFile): Pick<ImageInit, "labels" | "constants"> {
  const sections = sectionHeaders(file);
  const labels: Record<string, bigint> = Object.create(null);
  const constants: Record<string, bigint> = Object.create(null);
  for (const { name, symbol } of namedSymbols(file, sections)) {
    (symbol.st_shndx === SHN.ABS ? constants : labels)[name] = BigInt(symbol.st_value);
  }
  return { labels, constants };
}

function* namedSymbols(
  { bytes, structs }: ElfFile,
  sections: readonly ElfSectionHeader[],
): Generator<{ name: string; symbol: ElfSymbol }> {
  const table = sections.find((section) => section.sh_type === SHT_SYMTAB);
  if (table === undefined) return;
  const strings = sections[table.sh_link];
  if (strings === undefined) {
    throw new RangeError(
      `Cannot load the ELF file: its symbols' names are in section ${table.sh_link} of ${sections.length}; ` +
        "it is damaged",
    );
  }
  slice(bytes, table.sh_offset, table.sh_size, "the symbol table");
  const names = slice(bytes, strings.sh_offset, strings.sh_size, "the symbols' names");
  const decoder = new TextDecoder();
  const symbols = readTable(bytes, structs.symbol, {
    offset: table.sh_offset,
    count: Math.floor(Number(table.sh_size) / (Number(table.sh_entsize) || structs.symbol.size)),
    entrySize: table.sh_entsize,
    what: "a symbol",
  });
  for (const symbol of symbols) {
    const end = names.indexOf(0, symbol.st_name);
    const name = decoder.decode(names.subarray(symbol.st_name, end < 0 ? names.length : end));
    const wanted = NAMED_TYPES.includes(symbol.st_info & SYMBOL_TYPE_MASK);
    if (name !== "" && wanted && symbol.st_shndx !== SHN.UNDEF) yield { name, symbol };
  }
}

function sectionHeaders({ bytes, structs, header }: ElfFile): ElfSectionHeader[] {
  return readTable(bytes, structs.sectionHeader, {
    offset: header.e_shoff,
    count: header.e_shnum,
    entrySize: header.e_shentsize,
    what: "a section header",
  });
}

/** The source lines in an ELF file's debug information; none where it has none, or compressed. */
function readElfLines(file: ElfFile, texts: SourceTexts): SourceLine[] {
  const sections = sectionHeaders(file);
  const names = contentOfSection(file, sections[file.header.e_shstrndx]);
  const content = (name: string) =>
    contentOfSection(file, sections.find(({ sh_name }) => startsAt(names, sh_name, `${name}\0`)));
  return readDwarfLines({
    lines: content(".debug_line"),
    lineStrings: content(".debug_line_str"),
    strings: content(".debug_str"),
  }, texts);
}

function startsAt(bytes: Uint8Array, offset: number, text: string): boolean {
  return [...text].every((character, index) => bytes[offset + index] === character.charCodeAt(0));
}

function contentOfSection(
  { bytes }: ElfFile,
  section: ElfSectionHeader | undefined,
): Uint8Array<ArrayBuffer> {
  const isThere = section !== undefined && section.sh_type !== SHT_NOBITS &&
    (BigInt(section.sh_flags) & SHF_COMPRESSED) === 0n;
  return isThere
    ? slice(bytes, section.sh_offset, section.sh_size, "a section")
    : new Uint8Array(0);
}
