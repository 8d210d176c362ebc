import { array } from "../ffi/array.ts";
import type { CType } from "../ffi/c_type.ts";
import { u16, u32, u64, u8 } from "../ffi/scalar.ts";
import { type Struct, struct } from "../ffi/struct.ts";

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

/** `Elf32_Shdr` and `Elf64_Shdr`, as far as a symbol table needs them. */
export interface ElfSectionHeader {
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

/** The structures of one class of ELF files, as the System V ABI ("Object Files") and `elf.h` give them. */
export interface ElfStructs {
  /** The file header. */
  readonly header: Struct<ElfHeader>;
  /** A program header. */
  readonly programHeader: Struct<ElfProgramHeader>;
  /** A section header. */
  readonly sectionHeader: Struct<ElfSectionHeader>;
  /** A symbol. */
  readonly symbol: Struct<ElfSymbol>;
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
  }) as Struct<ElfProgramHeader>,
  symbol: struct("Elf32_Sym", {
    st_name: u32,
    st_value: u32,
    st_size: u32,
    st_info: u8,
    st_other: u8,
    st_shndx: u16,
  }) as Struct<ElfSymbol>,
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
  }) as Struct<ElfProgramHeader>,
  symbol: struct("Elf64_Sym", {
    st_name: u32,
    st_info: u8,
    st_other: u8,
    st_shndx: u16,
    st_value: u64,
    st_size: u64,
  }) as Struct<ElfSymbol>,
};
