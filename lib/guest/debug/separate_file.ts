import { dirname } from "node:path";
import { permitted } from "../cache_folder.ts";
import { contentNamed, type ElfFile, type OpenElf, openElf } from "../elf_file.ts";

/** The debug information of a file that has been split (`objcopy --only-keep-debug`), or why it was not found. */
export type SeparateFile = { readonly elf: OpenElf } | { readonly note: string };

/** Where systems keep such files. */
const SYSTEM_FOLDER = "/usr/lib/debug";

/** `NT_GNU_BUILD_ID`: a note of sizes, a type, the name `GNU`, and the number. */
const BUILD_ID_OFFSET = 16;

/**
 * Finds the debug information of an ELF file that has none itself, as gdb does (gdb manual, "Separate Debug Files"): by
 * its build ID, or by the name and checksum in `.gnu_debuglink`: beside it, in `.debug` beside it, and in
 * `/usr/lib/debug`. Nobody is asked for a permission.
 *
 * @param path Where the file is; undefined where that is not known.
 * @returns Undefined where the file does not say that there is some.
 */
export function findSeparateFile(
  file: ElfFile,
  path: string | undefined,
): SeparateFile | undefined {
  const folder = path === undefined ? undefined : dirname(path);
  const id = contentNamed(file, ".note.gnu.build-id")?.subarray(BUILD_ID_OFFSET);
  const link = contentNamed(file, ".gnu_debuglink");
  if (id !== undefined && id.length > 1) {
    const hex = [...id].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const name = `.build-id/${hex.slice(0, 2)}/${hex.slice(2)}.debug`;
    for (const place of [...folder === undefined ? [] : [folder], SYSTEM_FOLDER]) {
      const content = readQuietly(`${place}/${name}`);
      if (content !== undefined) return opened(content, name);
    }
  }
  const end = link?.indexOf(0) ?? -1;
  if (link === undefined || end < 1) return undefined;
  const name = new TextDecoder().decode(link.subarray(0, end));
  const places = folder === undefined
    ? []
    : [folder, `${folder}/.debug`, `${SYSTEM_FOLDER}${folder}`];
  let isOther = false;
  for (const place of places) {
    const content = readQuietly(`${place}/${name}`);
    if (content === undefined) continue;
    if (crc32(content) === checksumIn(link)) return opened(content, name);
    isOther = true;
  }
  return {
    note: isOther
      ? `its debug information, ${name}, is that of another build`
      : folder === undefined
      ? `its debug information is in ${name}, and where that is is not known: load it by its path`
      : `its debug information is in ${name}, which is neither beside it nor in .debug there`,
  };
}

function opened(content: Uint8Array<ArrayBuffer>, name: string): SeparateFile {
  try {
    return { elf: openElf(content) };
  } catch (error) {
    return { note: `its debug information, ${name}, cannot be read: ${(error as Error).message}` };
  }
}

function readQuietly(path: string): Uint8Array<ArrayBuffer> | undefined {
  if (!permitted(path, "read")) return undefined;
  try {
    return Deno.readFileSync(path);
  } catch {
    // It is not there.
    return undefined;
  }
}

/** The checksum is the last word of the section. */
function checksumIn(link: Uint8Array): number | undefined {
  if (link.length < 4) return undefined;
  return new DataView(link.buffer, link.byteOffset, link.length).getUint32(link.length - 4, true);
}

const CRC_POLYNOMIAL = 0xedb8_8320;
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ CRC_POLYNOMIAL : byte >>> 1;
  return byte;
});

/** That of zlib and gdb (gdb manual, "Separate Debug Files"). */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffff_ffff) >>> 0;
}
