import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { noneOfThatName } from "../../x86/nearest_names.ts";
import { ELF_OPTIONS, elfImage, type ElfOptions } from "../elf.ts";
import { isElf, type OpenElf, openElf } from "../elf_file.ts";
import { FLAT_OPTIONS, type FlatOptions, type ImageInit } from "../image_init.ts";
import { type BootProtocol, fileError, type ImageKind, type RomShadow } from "../boot_protocol.ts";
import { kernelSections } from "./elf_sections.ts";
import { bootSectorImage, isBootSector, isRom, romImage } from "./firmware.ts";
import { refuseForeignFile } from "./foreign_file.ts";
import { readLinuxFile } from "./linux_file.ts";
import { readMultibootHeader } from "./multiboot_header.ts";
import { type Multiboot2Header, readMultiboot2Header } from "./multiboot2_header.ts";
import { readPvhEntry } from "./pvh_note.ts";

/** How a file is to be taken. What its kind does not have is refused. */
export interface OpenOptions extends Partial<FlatOptions>, ElfOptions {
  /** What it is. Default what its headers say; a flat binary has none, and is known by its `origin`. */
  readonly kind?: ImageKind;
  /**
   * Of a ROM: what shows its end below 1 MiB. Default `"rom"`; `"ram"` for firmware that counts on a chipset's shadow RAM
   * (SeaBIOS), where the board has no chipset that could switch it on.
   */
  readonly shadow?: RomShadow;
}

const OPEN_OPTIONS: NamesOf<OpenOptions> = {
  ...FLAT_OPTIONS,
  ...ELF_OPTIONS,
  kind: "value",
  shadow: "value",
};

/** What each kind of file is called, and the options that it takes beside `kind`. */
const KINDS: Readonly<Record<ImageKind, { readonly name: string; readonly options: object }>> = {
  flat: { name: "flat binary", options: FLAT_OPTIONS },
  elf: { name: "ELF file", options: ELF_OPTIONS },
  multiboot: { name: "multiboot kernel", options: { base: "value" } },
  multiboot2: { name: "multiboot 2 kernel", options: { base: "value" } },
  pvh: { name: "PVH kernel", options: { base: "value" } },
  linux: { name: "Linux kernel", options: {} },
  rom: { name: "ROM", options: { shadow: "value" } },
  "boot-sector": { name: "boot sector", options: {} },
};

/**
 * Reads a file that can be booted, of whatever kind. See `Image.open`.
 *
 * @param path Where the file is, which may have its debug information beside it.
 * @returns Undefined for a flat binary.
 * @throws {TypeError} When it is of no kind that can be loaded, or has options that its kind does not take.
 * @throws {RangeError} When it is damaged; the message names the field.
 */
export function readImageFile(
  content: Uint8Array,
  options: OpenOptions,
  path?: string,
): ImageInit | undefined {
  checkOptions("open an image", options, OPEN_OPTIONS);
  if (!(content instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot make an image of ${typeof content}: give a Uint8Array, as Deno.readFileSync returns`,
    );
  }
  const { kind } = options;
  if (kind !== undefined && !Object.hasOwn(KINDS, kind)) {
    throw new RangeError(
      `Cannot open an image as ${JSON.stringify(kind)}: ${
        noneOfThatName(String(kind), Object.keys(KINDS))
      }`,
    );
  }
  const file = new Uint8Array(content);
  const image = kind === "flat" ? undefined : read(file, options, path);
  checkTaken(image?.kind ?? "flat", options);
  return image;
}

function read(
  file: Uint8Array<ArrayBuffer>,
  options: OpenOptions,
  path: string | undefined,
): ImageInit | undefined {
  const { kind } = options;
  switch (kind) {
    case "rom":
      return romImage(file, options.shadow);
    case "boot-sector":
      return bootSectorImage(file);
    case "linux":
      return readLinuxFile(file) ?? refuseKind(kind, "`header` at byte 514 is not HdrS");
  }
  if (isElf(file)) return readElfKind(openElf(file), options, path);
  if (kind === "elf") return elfImage(openElf(file), options, path);
  const linux = kind === undefined ? readLinuxFile(file) : undefined;
  if (linux !== undefined) return linux;
  if (kind === undefined) refuseForeignFile(file);
  const kernel = wanted("multiboot2", kind, () => readFlatMultiboot2(file)) ??
    wanted("multiboot", kind, () => readFlatMultiboot(file));
  if (kernel !== undefined) return kernel;
  if (kind !== undefined) refuseKind(kind, MISSING[kind] ?? "");
  if (isBootSector(file)) return bootSectorImage(file);
  if (isRom(file)) return romImage(file, options.shadow);
  if (options.origin !== undefined) return undefined;
  throw new TypeError(
    "Cannot open the image: it has no header of ELF, multiboot, multiboot 2 or a Linux kernel, is no boot sector (0xaa55 " +
      "at byte 510, whole sectors) and no ROM (whole pages, a jump 16 bytes before its end or a UEFI firmware volume). For " +
      "a flat binary give its `origin`; for a file that is damaged, its `kind`, and the error says what is wrong with it.",
  );
}

const MISSING: Partial<Record<ImageKind, string>> = {
  multiboot: "there is no `magic` 0x1badb002 in its first 8192 bytes, at a multiple of 4",
  multiboot2: "there is no `magic` 0xe85250d6 in its first 32768 bytes, at a multiple of 8",
  pvh: "it has no note of Xen's with XEN_ELFNOTE_PHYS32_ENTRY, which ELF files alone have",
};

function refuseKind(kind: ImageKind, why: string): never {
  throw fileError(KINDS[kind].name, why);
}

function wanted<Result>(
  kind: ImageKind,
  asked: ImageKind | undefined,
  body: () => Result,
): Result | undefined {
  return asked === undefined || asked === kind ? body() : undefined;
}

/** A multiboot kernel that is no ELF file: its header says what is loaded. */
function readFlatMultiboot(file: Uint8Array<ArrayBuffer>): ImageInit | undefined {
  const header = readMultibootHeader(file);
  if (header === undefined) return undefined;
  if (header.image === undefined) {
    throw fileError(
      "multiboot kernel",
      "bit 16 of `flags` is clear, so that its header has no address fields, and it is no ELF file",
    );
  }
  return {
    ...header.image,
    kind: "multiboot",
    what: "multiboot kernel (address fields)",
    protocol: { kind: "multiboot", textScreen: header.textScreen, sections: undefined },
  };
}

function readFlatMultiboot2(file: Uint8Array<ArrayBuffer>): ImageInit | undefined {
  const header = readMultiboot2Header(file);
  if (header === undefined) return undefined;
  if (header.image === undefined) {
    throw fileError(
      "multiboot 2 kernel",
      "its header has no address tag (type 2), and it is no ELF file",
    );
  }
  return {
    ...header.image,
    kind: "multiboot2",
    what: "multiboot 2 kernel (address tag)",
    protocol: {
      kind: "multiboot2",
      textScreen: header.textScreen,
      sections: undefined,
      loadBase: loadBaseOf(header, header.image),
      requires: header.requires,
    },
  };
}

function readElfKind(elf: OpenElf, options: OpenOptions, path: string | undefined): ImageInit {
  const { kind } = options;
  const { bytes, bits } = elf;
  const wantedElf = <Result>(each: ImageKind, body: () => Result) => wanted(each, kind, body);
  const second = wantedElf("multiboot2", () => readMultiboot2Header(bytes));
  if (second !== undefined) {
    const { textScreen, requires, image, entry } = second;
    const loaded = kernelImage(elf, options, path, "multiboot2", entry, image);
    return {
      ...loaded,
      protocol: {
        kind: "multiboot2",
        textScreen,
        sections: kernelSections(elf),
        loadBase: loadBaseOf(second, loaded),
        requires,
      },
    };
  }
  const first = wantedElf("multiboot", () => readMultibootHeader(bytes));
  if (first !== undefined) {
    const { textScreen, image } = first;
    const protocol: BootProtocol = {
      kind: "multiboot",
      textScreen,
      sections: kernelSections(elf),
    };
    return { ...kernelImage(elf, options, path, "multiboot", undefined, image), protocol };
  }
  const entry = wantedElf("pvh", () => readPvhEntry(elf));
  if (entry !== undefined) {
    return { ...kernelImage(elf, options, path, "pvh", entry), protocol: { kind: "pvh" } };
  }
  if (kind !== undefined && kind !== "elf") refuseKind(kind, MISSING[kind] ?? "it is an ELF file");
  return { ...elfImage(elf, options, path), kind: "elf", what: `ELF executable, ${bits} bits` };
}

/**
 * Where a relocatable kernel lies: as it is linked, or at the option `base`.
 *
 * @throws {RangeError} When its header does not allow that.
 */
function loadBaseOf(
  { relocatable }: Multiboot2Header,
  { segments }: ImageInit,
): number | undefined {
  if (relocatable === undefined) return undefined;
  const { min_addr, max_addr, align } = relocatable;
  const load = segments.map(({ address, loadAddress = address }) => Number(loadAddress));
  const base = Math.min(...load);
  const last = Math.max(...load.map((start, index) => start + segments[index].size)) - 1;
  const refuse = (field: string, value: number) => {
    throw fileError(
      KINDS.multiboot2.name,
      `\`${field}\` of its relocatable tag is ${hex(value)}, and it lies at ${hex(base)}–${
        hex(last)
      }`,
    );
  };
  if (base < min_addr) refuse("min_addr", min_addr);
  if (last > max_addr) refuse("max_addr", max_addr);
  if (align > 0 && base % align !== 0) refuse("align", align);
  return base;
}

const FOUR_GIB = 2n ** 32n;

/** An ELF file as a loader of 32-bit kernels takes it: at physical addresses below 4 GiB, entered as 32-bit code. */
function kernelImage(
  elf: OpenElf,
  options: OpenOptions,
  path: string | undefined,
  kind: ImageKind,
  entry: number | undefined,
  addressed?: ImageInit,
): ImageInit {
  const { name } = KINDS[kind];
  const fromElf = elfImage(elf, { base: options.base }, path);
  const image: ImageInit = {
    ...fromElf,
    ...addressed,
    ...entry === undefined ? {} : { entry: BigInt(entry) },
    bits: 32,
    kind,
    what: addressed === undefined
      ? `${name} (ELF, ${elf.bits} bits)`
      : `${name} (address fields, ELF)`,
  };
  const ranges = image.segments.map(({ address, loadAddress = address, size }) => ({
    start: loadAddress,
    end: loadAddress + BigInt(size),
  }));
  const beyond = ranges.find(({ end }) => end > FOUR_GIB);
  if (beyond !== undefined) {
    throw fileError(
      name,
      `\`p_paddr\` of a segment is ${hex(beyond.start)}, so that it does not end below 4 GiB; ` +
        "link it with its physical addresses there (AT in a linker script)",
    );
  }
  if (ranges.some(({ start, end }) => image.entry! >= start && image.entry! < end)) return image;
  const field = kind === "pvh"
    ? "XEN_ELFNOTE_PHYS32_ENTRY"
    : entry === undefined
    ? "e_entry"
    : "entry_addr";
  throw fileError(name, `\`${field}\` is ${hex(image.entry!)}, outside of its segments`);
}

function checkTaken(kind: ImageKind, options: OpenOptions): void {
  for (const [option, value] of Object.entries(options)) {
    const isTaken = option === "kind" || Object.hasOwn(KINDS[kind].options, option);
    if (value === undefined || isTaken) continue;
    throw new TypeError(
      `Cannot open the image with the option ${option}: a file of kind ${
        JSON.stringify(kind)
      } does not take it. ` +
        "Leave it out, or say what else the file is by `kind`.",
    );
  }
}
