import { type ElfFile, hasSymbols, type OpenElf, unpackedSizeOf } from "../elf_file.ts";
import { DebugInfo } from "./debug_info.ts";
import { findSeparateFile } from "./separate_file.ts";

/** An ELF file's debug information, and the file that has its symbols: itself, or one that was split off. */
export interface ElfDebug {
  readonly info: DebugInfo;
  readonly symbols: ElfFile;
}

/**
 * What is to be read of an ELF file's debug information.
 *
 * @param path Where the file is; undefined where that is not known.
 */
export function debugOf(file: OpenElf, path: string | undefined): ElfDebug {
  const own = readable(file);
  if (own.sizeOf(".debug_line") > 0) return { info: new DebugInfo({ file: own }), symbols: file };
  const separate = quietly(() => findSeparateFile(file, path));
  if (separate !== undefined && "elf" in separate) {
    const { elf } = separate;
    return {
      info: new DebugInfo({ file: readable(elf), frames: own }),
      symbols: hasSymbols(file) ? file : elf,
    };
  }
  const why = separate?.note ??
    (hasSymbols(file) ? "compile and assemble it with -g" : "it was stripped");
  const note = `the ELF file has no source lines: ${why}`;
  return { info: new DebugInfo({ file: own, note }), symbols: file };
}

function readable(file: OpenElf) {
  return {
    bytes: file.bytes,
    sizeOf: (name: string) => quietly(() => unpackedSizeOf(file, name)) ?? 0,
  };
}

/** What is damaged is not there: the file can be loaded all the same. */
function quietly<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
