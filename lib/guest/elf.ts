import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { hex } from "../x86/hex.ts";
import { checkAddress } from "./address.ts";
import { debugOf } from "./debug/elf_debug.ts";
import { SourceTexts } from "./debug/source_texts.ts";
import {
  type ElfFile,
  type ElfHeader,
  type ElfProgramHeader,
  type ElfSectionHeader,
  type ElfSymbol,
  ET,
  LINK,
  type OpenElf,
  openElf,
  readTable,
  sectionHeaders,
  SHT,
  slice,
} from "./elf_file.ts";
import type { ImageInit } from "./image_init.ts";
import { moved } from "./moved_image.ts";
import { relocated } from "./elf_relocation.ts";

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
  /**
   * What is added to its addresses: of a position-independent executable, whose relocations are made, and of another that
   * runs wherever it is, or moves itself. Default 0x100000 for a position-independent one that is linked at 0, and else 0.
   */
  readonly base?: number | bigint;
}

/** The names of an ELF file's options. */
export const ELF_OPTIONS: NamesOf<ElfOptions> = { addresses: "value", base: "value" };

// elf.h
const PT_LOAD = 1;
const ADDRESSES: readonly unknown[] = ["physical", "virtual"];

/**
 * Reads an ELF executable. See `Image.fromElf`.
 *
 * @param path Where the file is, which may have its debug information beside it.
 * @throws {TypeError} When it is not an executable for x86.
 * @throws {RangeError} When it is damaged: something in it points past its end.
 */
export function readElf(file: Uint8Array, options: ElfOptions = {}, path?: string): ImageInit {
  checkOptions("load an ELF file", options, ELF_OPTIONS);
  if (!(file instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot load an ELF file from ${typeof file}: give its bytes, or its path to Image.elf`,
    );
  }
  return elfImage(openElf(new Uint8Array(file)), options, path);
}

/**
 * What an ELF executable puts in memory.
 *
 * @throws As {@linkcode readElf} does.
 */
export function elfImage(elf: OpenElf, options: ElfOptions = {}, path?: string): ImageInit {
  const { bytes, header, bits, programHeaders } = elf;
  const { addresses = "physical" } = options;
  if (!ADDRESSES.includes(addresses)) {
    throw new TypeError(
      `Cannot load an ELF file at ${String(addresses)} addresses: give "physical" or "virtual"`,
    );
  }
  const loaded = programHeaders.filter((segment) =>
    segment.p_type === PT_LOAD && BigInt(segment.p_memsz) > 0n
  );
  if (loaded.length === 0) {
    throw new TypeError(`Cannot load the ELF file: it has no segment to load; ${LINK}`);
  }
  const isVirtual = addresses === "virtual";
  const texts = new SourceTexts();
  const { info, symbols } = debugOf(elf, path);
  const isCode = (address: bigint) =>
    loaded.some(({ p_vaddr, p_memsz }) =>
      address >= BigInt(p_vaddr) && address < BigInt(p_vaddr) + BigInt(p_memsz)
    );
  const image: ImageInit = {
    segments: loaded.map((segment) => ({
      address: BigInt(segment.p_vaddr),
      ...isVirtual || segment.p_vaddr === segment.p_paddr
        ? {}
        : { loadAddress: BigInt(segment.p_paddr) },
      bytes: contentOf(bytes, segment),
      size: sizeOf(segment),
    })),
    entry: isVirtual ? BigInt(header.e_entry) : physicalEntry(header, loaded),
    bits,
    kind: "elf",
    what: `ELF executable, ${bits} bits`,
    ...readElfSymbols(symbols),
    lines: () =>
      info.rows(isCode).map((row) => ({
        ...row,
        text: texts.at(row.file, row.line)?.trim() ?? "",
      })),
    debug: { info, base: 0n },
    sourceText: (file, line) => texts.at(file, line),
  };
  return header.e_type === ET.DYN
    ? relocated(elf, image, options.base)
    : moved(image, checkAddress(options.base ?? 0, "the base of an executable"));
}

function physicalEntry({ e_entry }: ElfHeader, segments: readonly ElfProgramHeader[]): bigint {
  const entry = BigInt(e_entry);
  const home = segments.find(({ p_vaddr, p_memsz }) =>
    entry >= BigInt(p_vaddr) && entry < BigInt(p_vaddr) + BigInt(p_memsz)
  );
  return home === undefined ? entry : entry - BigInt(home.p_vaddr) + BigInt(home.p_paddr);
}

function contentOf(
  bytes: Uint8Array<ArrayBuffer>,
  segment: ElfProgramHeader,
): Uint8Array<ArrayBuffer> {
  if (BigInt(segment.p_filesz) > BigInt(segment.p_memsz)) {
    throw new RangeError(
      `Cannot load the ELF file: \`p_filesz\` of a segment is ${segment.p_filesz}, above its \`p_memsz\`, ` +
        `${segment.p_memsz}; it is damaged`,
    );
  }
  return slice(bytes, segment.p_offset, segment.p_filesz, "`p_offset` + `p_filesz` of a segment")
    .slice();
}

function sizeOf({ p_memsz }: ElfProgramHeader): number {
  if (BigInt(p_memsz) <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(p_memsz);
  throw new RangeError(
    `Cannot load the ELF file: \`p_memsz\` of a segment is ${
      hex(p_memsz)
    }, beyond 2^53; it is damaged`,
  );
}

// elf.h
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
  const table = sections.find((section) => section.sh_type === SHT.SYMTAB);
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
