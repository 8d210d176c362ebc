import type { KernelSections } from "../../x86/boot/protocols/kernel_sections.ts";
import { type OpenElf, readTable, slice } from "../elf_file.ts";

/** `SHT_SYMTAB` and `SHT_STRTAB`: what a kernel looks its symbols up in. */
const OF_SYMBOLS: readonly number[] = [2, 3];

/**
 * The section headers that a multiboot loader hands on, and the symbol table and strings, which no segment loads.
 *
 * @returns Undefined where the file has none: it was stripped.
 * @throws {RangeError} When they reach past the end of the file.
 */
export function kernelSections({ bytes, structs, header }: OpenElf): KernelSections | undefined {
  const { e_shoff, e_shnum, e_shentsize, e_shstrndx } = header;
  if (e_shnum === 0) return undefined;
  const sections = readTable(bytes, structs.sectionHeader, {
    offset: e_shoff,
    count: e_shnum,
    entrySize: e_shentsize,
    what: "a section header (`e_shoff`, `e_shentsize`)",
  });
  const { offset, size } = structs.sectionHeader.fields.find(({ path }) => path === "sh_addr")!;
  return {
    headers: slice(bytes, e_shoff, e_shnum * e_shentsize, "`e_shoff` + `e_shnum` section headers")
      .slice(),
    count: e_shnum,
    entrySize: e_shentsize,
    namesIndex: e_shstrndx,
    unloaded: sections.flatMap(({ sh_type, sh_flags, sh_offset, sh_size }, index) => {
      const isUnloaded = OF_SYMBOLS.includes(sh_type) && (BigInt(sh_flags) & SHF_ALLOC) === 0n;
      if (!isUnloaded || BigInt(sh_size) === 0n) return [];
      const what = "`sh_offset` + `sh_size` of a section";
      return [{
        bytes: slice(bytes, sh_offset, sh_size, what).slice(),
        addressAt: index * e_shentsize + offset,
        addressSize: size as 4 | 8,
      }];
    }),
  };
}

const SHF_ALLOC = 2n;
