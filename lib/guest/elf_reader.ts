import type { Struct } from "../ffi/struct.ts";
import type { ElfHeader, ElfStructs, ElfWord } from "./elf_structs.ts";

/** A file being read, with what every part of it needs. */
export interface ElfFile {
  /** The file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its class's structures. */
  readonly structs: ElfStructs;
  /** Its header. */
  readonly header: ElfHeader;
  /** Where an address of the linker's lies in memory. */
  place(virtual: ElfWord): bigint;
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
  type: Struct<Value>,
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
  type: Struct<Value>,
  offset: bigint,
  what: string,
): Value {
  const part = slice(bytes, offset, type.size, what);
  return type.read(new DataView(part.buffer, part.byteOffset, part.length));
}
