import { array } from "../ffi/array.ts";
import type { CType, StructLayout } from "../ffi/c_type.ts";
import { u16, u32, u64, u8 } from "../ffi/scalar.ts";
import { type Struct, struct } from "../ffi/struct.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";

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

/** `Elf32_Chdr` and `Elf64_Chdr`: what a compressed section begins with. */
export interface ElfCompressionHeader {
  /** How many bytes its content has. */
  readonly ch_size: ElfWord;
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
  /** The header of a compressed section. */
  readonly compressionHeader: ElfStruct<ElfCompressionHeader>;
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
  compressionHeader: struct("Elf32_Chdr", { ch_type: u32, ch_size: u32, ch_addralign: u32 }),
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
  compressionHeader: struct("Elf64_Chdr", {
    ch_type: u32,
    ch_reserved: u32,
    ch_size: u64,
    ch_addralign: u64,
  }),
};

// elf.h
const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const EI_CLASS = 4;
const EI_DATA = 5;
const EI_NIDENT = 16;
const ELFDATA2LSB = 1;
const CLASSES: Readonly<Record<number, ElfStructs>> = { 1: ELF32, 2: ELF64 };
/** Types of files. */
export const ET = { REL: 1, EXEC: 2, DYN: 3 } as const;
const MACHINE_BITS: Readonly<Record<number, CodeBits>> = { 3: 32, 62: 64 };

/** What to do about a file that was linked otherwise. */
export const LINK =
  "link it for the guest's addresses, for example with `ld -static -no-pie -Ttext=0x100000`";

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

/** An ELF file whose headers have been read. */
export interface OpenElf extends ElfFile {
  /** How wide its code is. */
  readonly bits: CodeBits;
  /** Its program headers. */
  readonly programHeaders: readonly ElfProgramHeader[];
}

/** Whether a file begins as ELF files do. */
export function isElf(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, index) => bytes[index] === byte);
}

/**
 * Reads the headers of an ELF executable.
 *
 * @throws As {@linkcode readElf} does.
 */
export function openElf(bytes: Uint8Array<ArrayBuffer>): OpenElf {
  const structs = identify(bytes);
  const header = readAt(bytes, structs.header, 0n, "its header");
  const bits = checkHeader(header);
  const programHeaders = readTable(bytes, structs.programHeader, {
    offset: header.e_phoff,
    count: header.e_phnum,
    entrySize: header.e_phentsize,
    what: "a program header (`e_phoff`, `e_phentsize`)",
  });
  return { bytes, structs, header, bits, programHeaders };
}

function identify(bytes: Uint8Array): ElfStructs {
  if (!isElf(bytes) || bytes.length < EI_NIDENT) {
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
  if (header.e_type === ET.EXEC || header.e_type === ET.DYN) return bits;
  const kind = header.e_type === ET.REL
    ? "an object file, not linked yet"
    : `of type ${header.e_type}, not an executable`;
  throw new TypeError(`Cannot load the ELF file: it is ${kind}; ${LINK}`);
}

/** Types of sections (elf.h). */
export const SHT = { SYMTAB: 2, NOBITS: 8 } as const;
const SHF_COMPRESSED = 0x800n;

/** The headers of a file's sections. @throws {RangeError} When they reach past the file's end, or are too small. */
export function sectionHeaders({ bytes, structs, header }: ElfFile): ElfSectionHeader[] {
  return readTable(bytes, structs.sectionHeader, {
    offset: header.e_shoff,
    count: header.e_shnum,
    entrySize: header.e_shentsize,
    what: "a section header (`e_shoff`, `e_shentsize`)",
  });
}

/** Whether a file has a symbol table. @throws {RangeError} As {@linkcode sectionHeaders} does. */
export function hasSymbols(file: ElfFile): boolean {
  return sectionHeaders(file).some(({ sh_type }) => sh_type === SHT.SYMTAB);
}

/**
 * The content of a section, as it lies in the file; undefined where there is none of that name.
 *
 * @throws {RangeError} When it reaches past the file's end.
 */
export function contentNamed(file: ElfFile, name: string): Uint8Array<ArrayBuffer> | undefined {
  const section = sectionNamed(file, name);
  return section && slice(file.bytes, section.sh_offset, section.sh_size, `the section ${name}`);
}

/**
 * The size of a section's content, once it is unpacked; 0 where there is none of that name.
 *
 * @throws {RangeError} When it reaches past the file's end.
 */
export function unpackedSizeOf(file: ElfFile, name: string): number {
  const section = sectionNamed(file, name);
  if (section === undefined) return 0;
  const { sh_flags, sh_offset, sh_size } = section;
  if ((BigInt(sh_flags) & SHF_COMPRESSED) === 0n) return Number(sh_size);
  const { compressionHeader } = file.structs;
  const header = readAt(file.bytes, compressionHeader, BigInt(sh_offset), `the section ${name}`);
  return Number(header.ch_size);
}

function sectionNamed(file: ElfFile, name: string): ElfSectionHeader | undefined {
  const sections = sectionHeaders(file);
  const names = sections[file.header.e_shstrndx];
  if (names === undefined || names.sh_type === SHT.NOBITS) return undefined;
  const content = slice(file.bytes, names.sh_offset, names.sh_size, "the sections' names");
  const wanted = new TextEncoder().encode(`${name}\0`);
  return sections.find(({ sh_name, sh_type }) =>
    sh_type !== SHT.NOBITS && wanted.every((byte, index) => content[sh_name + index] === byte)
  );
}
