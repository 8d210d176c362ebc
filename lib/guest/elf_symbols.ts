import { type ElfFile, readTable, slice } from "./elf_reader.ts";
import type { ElfSectionHeader, ElfSymbol } from "./elf_structs.ts";
import type { ImageParts } from "./image_parts.ts";

// elf.h
const SHT_SYMTAB = 2;
const SHN = { UNDEF: 0, ABS: 0xfff1 } as const;
const SYMBOL_TYPE_MASK = 0xf;
/** `STT_NOTYPE`, `STT_OBJECT` and `STT_FUNC`: not the names of sections and files. */
const NAMED_TYPES: readonly number[] = [0, 1, 2];

/**
 * The names in an ELF file's symbol table: labels at the addresses where they lie in memory, and constants. None where
 * it was stripped.
 *
 * @throws {RangeError} When the table points past the file's end.
 */
export function readElfSymbols(file: ElfFile): Pick<ImageParts, "labels" | "constants"> {
  const { bytes, structs, header } = file;
  const sections = readTable(bytes, structs.sectionHeader, {
    offset: header.e_shoff,
    count: header.e_shnum,
    entrySize: header.e_shentsize,
    what: "a section header",
  });
  const labels: Record<string, number> = Object.create(null);
  const constants: Record<string, number> = Object.create(null);
  for (const { name, symbol } of namedSymbols(file, sections)) {
    const isConstant = symbol.st_shndx === SHN.ABS;
    const value = Number(isConstant ? symbol.st_value : file.place(symbol.st_value));
    if (Number.isSafeInteger(value)) (isConstant ? constants : labels)[name] = value;
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
