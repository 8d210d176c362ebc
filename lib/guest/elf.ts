import { readAt, readTable, slice } from "./elf_reader.ts";
import {
  ELF32,
  ELF64,
  type ElfHeader,
  type ElfProgramHeader,
  type ElfStructs,
  type ElfWord,
} from "./elf_structs.ts";
import { readElfSymbols } from "./elf_symbols.ts";
import type { CodeBits, ImageParts } from "./image_parts.ts";

/** How an ELF file is to be taken. */
export interface ElfOptions {
  /**
   * Where its segments lie: at their physical addresses, the default, as boot loaders and Firecracker place them, or
   * at their virtual ones. They differ in kernels that are linked for the upper half.
   */
  readonly addresses?: "physical" | "virtual";
}

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

const LINK =
  "link it for the guest's addresses, for example with `ld -static -no-pie -Ttext=0x100000`";

/**
 * Reads an ELF executable. See `Image.fromElf`.
 *
 * @throws {TypeError} When it is not an executable for x86.
 * @throws {RangeError} When it is damaged: something in it points past its end.
 */
export function readElf(file: Uint8Array, { addresses = "physical" }: ElfOptions = {}): ImageParts {
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
  const start = (segment: ElfProgramHeader) =>
    addresses === "physical" ? segment.p_paddr : segment.p_vaddr;
  const place = (virtual: ElfWord) => {
    const address = BigInt(virtual);
    const home = segments.find((segment) => {
      const first = BigInt(segment.p_vaddr);
      return address >= first && address < first + BigInt(segment.p_memsz);
    });
    return home === undefined ? address : address - BigInt(home.p_vaddr) + BigInt(start(home));
  };
  return {
    segments: segments.map((segment) => ({
      address: safeNumber(start(segment), "the address of a segment"),
      bytes: contentOf(bytes, segment),
      size: safeNumber(segment.p_memsz, "the size of a segment"),
    })),
    entry: safeNumber(place(header.e_entry), "its entry"),
    bits,
    ...readElfSymbols({ bytes, structs, header, place }),
  };
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

function safeNumber(value: ElfWord, what: string): number {
  if (BigInt(value) <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new RangeError(
    `Cannot load the ELF file: ${what} is 0x${
      value.toString(16)
    }, beyond 2^53; guests lie at physical addresses ` +
      "(AT(…) in a linker script)",
  );
}
