import { struct, u32, u64 } from "../ffi/struct.ts";
import { hex } from "../x86/hex.ts";
import { checkAddress } from "./address.ts";
import { type ElfStruct, type ElfWord, type OpenElf, readTable, slice } from "./elf_file.ts";
import type { ImageInit, ImageSegment } from "./image_init.ts";
import { moved } from "./moved_image.ts";

const PT = { DYNAMIC: 2, INTERP: 3 } as const;

/** Tags of the dynamic section (System V ABI, "Dynamic Section"). */
const DT = {
  NULL: 0,
  NEEDED: 1,
  PLTRELSZ: 2,
  RELA: 7,
  RELASZ: 8,
  RELAENT: 9,
  REL: 17,
  RELSZ: 18,
  RELENT: 19,
  PLTREL: 20,
  JMPREL: 23,
  RELR: 36,
} as const;

/** `R_386_NONE` and `R_X86_64_NONE`, `R_386_RELATIVE` and `R_X86_64_RELATIVE`: the same numbers. */
const R = { NONE: 0, RELATIVE: 8 } as const;

/** `Elf32_Rel` and its like. */
interface Relocation {
  readonly r_offset: ElfWord;
  readonly r_info: ElfWord;
  /** Where it has none, it lies in its place. */
  readonly r_addend?: ElfWord;
}

/** The structures of a class, and how its relocations are packed. */
interface RelocationFormat {
  readonly dynamic: ElfStruct<{ d_tag: ElfWord; d_val: ElfWord }>;
  readonly rel: ElfStruct<Relocation>;
  readonly rela: ElfStruct<Relocation>;
  readonly typeMask: bigint;
  readonly bytes: 4 | 8;
}

const format = (word: typeof u32 | typeof u64, typeMask: bigint) => ({
  dynamic: struct("Dyn", { d_tag: word, d_val: word }),
  rel: struct("Rel", { r_offset: word, r_info: word }),
  rela: struct("Rela", {
    r_offset: word,
    r_info: word,
    r_addend: word,
  }),
  typeMask,
});

const FORMATS: Readonly<Record<number, RelocationFormat>> = {
  32: { ...format(u32, 0xffn), bytes: 4 },
  64: { ...format(u64, 0xffff_ffffn), bytes: 8 },
};

const PAGE = 4096n;
/** Where one that is linked at 0 goes. */
const DEFAULT_BASE = 0x10_0000n;
const LINK_STATIC = "link it for fixed addresses (`ld -no-pie -Ttext=0x100000`)";

/**
 * Moves a position-independent executable to its base: its segments, entry, symbols and lines, and every place that a
 * relocation names.
 *
 * @param image It as it is linked.
 * @throws {TypeError} When that takes a dynamic linker.
 * @throws {RangeError} When the base is none, or a relocation lies outside of the file.
 */
export function relocated(
  elf: OpenElf,
  image: ImageInit,
  given: number | bigint | undefined,
): ImageInit {
  const lowest = image.segments.map(({ address }) => address).reduce((a, b) => a < b ? a : b);
  const base = given === undefined
    ? lowest < PAGE ? DEFAULT_BASE : 0n
    : checkAddress(given, "the base of a position-independent executable");
  if (base % PAGE !== 0n) {
    throw new RangeError(`Cannot load the ELF file at the base ${hex(base)}: give whole pages`);
  }
  applyRelocations(elf, image.segments, base);
  return moved(image, base);
}

function applyRelocations(
  elf: OpenElf,
  segments: readonly ImageSegment[],
  base: bigint,
): void {
  const { rel, rela } = FORMATS[elf.bits];
  const dynamic = dynamicSection(elf);
  const value = (tag: number) => dynamic.get(tag) ?? 0n;
  const read = <Value>(type: ElfStruct<Value>, table: number, size: bigint, what: string) => {
    if (size === 0n) return [];
    const bytes = contentAt(segments, value(table), size, what);
    const count = Number(size / BigInt(type.size));
    return readTable(bytes, type, { offset: 0n, count, entrySize: BigInt(type.size), what });
  };
  const isRela = value(DT.PLTREL) === BigInt(DT.RELA);
  for (
    const each of [
      ...read(rela, DT.RELA, value(DT.RELASZ), "`DT_RELA` + `DT_RELASZ`"),
      ...read(rel, DT.REL, value(DT.RELSZ), "`DT_REL` + `DT_RELSZ`"),
      ...read(isRela ? rela : rel, DT.JMPREL, value(DT.PLTRELSZ), "`DT_JMPREL` + `DT_PLTRELSZ`"),
    ]
  ) applyOne(elf, segments, base, each);
}

function applyOne(
  { bits }: OpenElf,
  segments: readonly ImageSegment[],
  base: bigint,
  { r_offset, r_info, r_addend }: Relocation,
): void {
  const { typeMask, bytes } = FORMATS[bits];
  const type = Number(BigInt(r_info) & typeMask);
  if (type === R.NONE) return;
  if (type !== R.RELATIVE) {
    throw new TypeError(
      `Cannot load the ELF file: \`r_info\` of its relocation at ${
        hex(r_offset)
      } has the type ${type}; of a ` +
        `position-independent executable only relocations by its base (type ${R.RELATIVE}, R_${
          bits === 64 ? "X86_64" : "386"
        }_RELATIVE) can be made without a dynamic linker; ${LINK_STATIC}`,
    );
  }
  const place = contentAt(segments, BigInt(r_offset), BigInt(bytes), "`r_offset` of a relocation");
  const view = new DataView(place.buffer, place.byteOffset, bytes);
  if (bytes === 4) {
    const addend = r_addend === undefined ? view.getUint32(0, true) : Number(r_addend);
    view.setUint32(0, Number(BigInt.asUintN(32, BigInt(addend) + base)), true);
  } else {
    const addend = r_addend === undefined ? view.getBigUint64(0, true) : BigInt(r_addend);
    view.setBigUint64(0, BigInt.asUintN(64, addend + base), true);
  }
}

/** The dynamic section's values by tag; none where there is no such section. */
function dynamicSection({ bytes, bits, programHeaders }: OpenElf): ReadonlyMap<number, bigint> {
  if (programHeaders.some(({ p_type }) => p_type === PT.INTERP)) {
    throw new TypeError(
      `Cannot load the ELF file: it asks for a dynamic linker (PT_INTERP), which an operating system has; ${LINK_STATIC}`,
    );
  }
  const values = new Map<number, bigint>();
  const header = programHeaders.find(({ p_type }) => p_type === PT.DYNAMIC);
  if (header === undefined) return values;
  const what = "`p_offset` + `p_filesz` of its dynamic section";
  const { dynamic } = FORMATS[bits];
  const part = slice(bytes, header.p_offset, header.p_filesz, what);
  const entries = readTable(part, dynamic, {
    offset: 0n,
    count: Math.floor(part.length / dynamic.size),
    entrySize: BigInt(dynamic.size),
    what,
  });
  for (const { d_tag, d_val } of entries) {
    const tag = Number(d_tag);
    if (tag === DT.NULL) break;
    if (tag === DT.NEEDED || tag === DT.RELR) {
      throw new TypeError(
        `Cannot load the ELF file: its dynamic section has ${
          tag === DT.NEEDED ? "DT_NEEDED: it needs shared libraries" : "DT_RELR, packed relocations"
        }; ${LINK_STATIC}`,
      );
    }
    values.set(tag, BigInt(d_val));
  }
  for (const [tag, type] of [[DT.RELAENT, "rela"], [DT.RELENT, "rel"]] as const) {
    const size = values.get(tag);
    if (size === undefined || size === BigInt(FORMATS[bits][type].size)) continue;
    throw new RangeError(
      `Cannot load the ELF file: \`DT_${type.toUpperCase()}ENT\` is ${size}, and its relocations have ${
        FORMATS[bits][type].size
      } bytes; it is damaged`,
    );
  }
  return values;
}

/** The bytes of the file that lie at an address, to be changed. */
function contentAt(
  segments: readonly ImageSegment[],
  address: bigint,
  size: bigint,
  what: string,
): Uint8Array<ArrayBuffer> {
  const home = segments.find((segment) =>
    address >= segment.address && address + size <= segment.address + BigInt(segment.bytes.length)
  );
  if (home !== undefined) {
    const start = Number(address - home.address);
    return home.bytes.subarray(start, start + Number(size));
  }
  throw new RangeError(
    `Cannot load the ELF file: ${what} is ${
      hex(address)
    }, where none of its segments has ${size} bytes; it is damaged`,
  );
}
