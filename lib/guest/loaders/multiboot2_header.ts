import { struct, u16, u32 } from "../../ffi/struct.ts";
import { hex } from "../../x86/hex.ts";
import { MULTIBOOT2_TAG, multiboot2TagName } from "../../x86/boot/protocols/multiboot2.ts";
import type { ImageInit } from "../image_init.ts";
import { addressedImage, type AddressFields } from "./address_fields.ts";
import { fileError } from "../boot_protocol.ts";

const MAGIC = 0xe852_50d6;
const SEARCHED = 32768;
const ALIGN = 8;

/** `struct multiboot_header` and its tags (Multiboot2 Specification 2.0, 3.1). */
const header = struct("multiboot_header", {
  magic: u32,
  architecture: u32,
  header_length: u32,
  checksum: u32,
});
const tagHeader = struct("multiboot_header_tag", { type: u16, flags: u16, size: u32 });
const addressTag = struct("multiboot_header_tag_address", {
  ...{ type: u16, flags: u16, size: u32 },
  header_addr: u32,
  load_addr: u32,
  load_end_addr: u32,
  bss_end_addr: u32,
});
const entryTag = struct("multiboot_header_tag_entry_address", {
  ...{ type: u16, flags: u16, size: u32 },
  entry_addr: u32,
});
const consoleTag = struct("multiboot_header_tag_console_flags", {
  ...{ type: u16, flags: u16, size: u32 },
  console_flags: u32,
});
const relocatableTag = struct("multiboot_header_tag_relocatable", {
  ...{ type: u16, flags: u16, size: u32 },
  min_addr: u32,
  max_addr: u32,
  align: u32,
  preference: u32,
});

const TAG = {
  END: 0,
  INFORMATION_REQUEST: 1,
  ADDRESS: 2,
  ENTRY_ADDRESS: 3,
  CONSOLE_FLAGS: 4,
  FRAMEBUFFER: 5,
  MODULE_ALIGN: 6,
  EFI_BOOT_SERVICES: 7,
  ENTRY_ADDRESS_EFI32: 8,
  ENTRY_ADDRESS_EFI64: 9,
  RELOCATABLE: 10,
} as const;
/** Those that mean nothing where there is no EFI, or ask for what every kernel gets. */
const WITHOUT_EFFECT: readonly number[] = [
  TAG.FRAMEBUFFER,
  TAG.MODULE_ALIGN,
  TAG.EFI_BOOT_SERVICES,
  TAG.ENTRY_ADDRESS_EFI32,
  TAG.ENTRY_ADDRESS_EFI64,
];
/** `flags` of a tag: a loader that does not know it may go on. */
const OPTIONAL = 1;
/** `architecture`: 32-bit protected mode of i386. */
const I386 = 0;

/** Where a relocatable kernel may lie. */
export type RelocatableTag = Pick<
  ReturnType<typeof relocatableTag.read>,
  "min_addr" | "max_addr" | "align"
>;

/** What a multiboot 2 header says. */
export interface Multiboot2Header {
  /** Whether the kernel asks about its screen. */
  readonly textScreen: boolean;
  /** Types of the tags of the boot information that it requires. */
  readonly requires: readonly number[];
  /** Where it may lie, if it may be loaded at other addresses. */
  readonly relocatable: RelocatableTag | undefined;
  /** What is loaded, where the header says it; otherwise the file is ELF. */
  readonly image: ImageInit | undefined;
  /** Where it starts, where the header says it. */
  readonly entry: number | undefined;
}

const WHAT = "multiboot 2 kernel";

/**
 * Reads the multiboot 2 header in a file's first 32 KiB.
 *
 * @returns Undefined where there is none.
 * @throws {RangeError} When there is one that cannot be: the message names the field.
 */
export function readMultiboot2Header(
  file: Uint8Array<ArrayBuffer>,
): Multiboot2Header | undefined {
  const offset = findHeader(file);
  if (offset === undefined) return undefined;
  const tags = readTags(file, offset);
  const address = tags.find(({ type }) => type === TAG.ADDRESS);
  const entry = tags.find(({ type }) => type === TAG.ENTRY_ADDRESS);
  const relocatable = tags.find(({ type }) => type === TAG.RELOCATABLE);
  const requests = tags.filter(({ type }) => type === TAG.INFORMATION_REQUEST)
    .map((tag) => ({ types: requestedTypes(tag), isOptional: (tag.flags & OPTIONAL) !== 0 }));
  const entry_addr = entry && readTag(entry, entryTag, "entry address").entry_addr;
  let image: ImageInit | undefined;
  if (address !== undefined) {
    if (entry_addr === undefined) {
      throw fileError(
        WHAT,
        "its header has an address tag (type 2) and no entry address tag (type 3)",
      );
    }
    const fields: AddressFields = readTag(address, addressTag, "address");
    const context = { what: WHAT, headerOffset: offset };
    image = addressedImage(file, fields, {
      ...context,
      entry: { name: "entry_addr", address: entry_addr },
    });
  }
  return {
    textScreen: tags.some(({ type }) => type === TAG.FRAMEBUFFER || type === TAG.CONSOLE_FLAGS) ||
      requests.some(({ types }) => types.includes(MULTIBOOT2_TAG.FRAMEBUFFER)),
    requires: requests.flatMap(({ types, isOptional }) => isOptional ? [] : types),
    relocatable: relocatable && readTag(relocatable, relocatableTag, "relocatable"),
    image,
    entry: entry_addr,
  };
}

/** A tag of the header. */
interface Tag {
  readonly type: number;
  readonly flags: number;
  readonly size: number;
  readonly view: DataView;
}

function readTags(file: Uint8Array<ArrayBuffer>, offset: number): Tag[] {
  const view = new DataView(file.buffer, file.byteOffset + offset);
  const { architecture, header_length } = header.read(view);
  if (architecture !== I386) {
    throw fileError(WHAT, `\`architecture\` of its header is ${architecture}, not 0 (i386)`);
  }
  if (header_length < header.size || header_length > SEARCHED - offset) {
    throw fileError(
      WHAT,
      `\`header_length\` of its header at byte ${offset} is ${header_length}; it must end in the file's first ${SEARCHED} bytes`,
    );
  }
  if (header_length > view.byteLength) {
    throw fileError(
      WHAT,
      `\`header_length\` of its header at byte ${offset} is ${header_length}, past the end of the file: it is cut short`,
    );
  }
  const tags: Tag[] = [];
  for (let at: number = header.size; at + tagHeader.size <= header_length;) {
    const { type, flags, size } = tagHeader.read(view, at);
    if (size < tagHeader.size || at + size > header_length) {
      throw fileError(
        WHAT,
        `\`size\` of the tag at byte ${offset + at} (type ${type}) is ${size}: ` +
          `it has ${tagHeader.size} at least, and ends with the header`,
      );
    }
    const tag = { type, flags, size, view: new DataView(view.buffer, view.byteOffset + at, size) };
    if (type === TAG.END) return tags;
    checkKnown(tag);
    tags.push(tag);
    at += Math.ceil(size / ALIGN) * ALIGN;
  }
  throw fileError(WHAT, "its header has no end tag (type 0) within `header_length`");
}

function checkKnown(tag: Tag): void {
  const isOptional = (tag.flags & OPTIONAL) !== 0;
  switch (tag.type) {
    case TAG.INFORMATION_REQUEST:
      return isOptional ? undefined : checkRequests(tag);
    case TAG.CONSOLE_FLAGS:
      return void readTag(tag, consoleTag, "console flags");
    case TAG.RELOCATABLE:
      return void readTag(tag, relocatableTag, "relocatable");
    case TAG.ADDRESS:
    case TAG.ENTRY_ADDRESS:
      return;
  }
  if (isOptional || WITHOUT_EFFECT.includes(tag.type)) return;
  throw fileError(
    WHAT,
    `its header has a tag of \`type\` ${tag.type}, which a loader must know and none does`,
  );
}

function checkRequests(tag: Tag): void {
  const known: readonly number[] = Object.values(MULTIBOOT2_TAG);
  const unknown = requestedTypes(tag).find((type) => !known.includes(type));
  if (unknown === undefined) return;
  throw fileError(
    WHAT,
    `\`mbi_tag_types\` of its information request asks for ${
      multiboot2TagName(unknown)
    }, which there is not here; let the request be optional`,
  );
}

/** `mbi_tag_types` of an information request. */
function requestedTypes({ view, size }: Tag): number[] {
  const types: number[] = [];
  for (let at: number = tagHeader.size; at + u32.size <= size; at += u32.size) {
    types.push(view.getUint32(at, true));
  }
  return types;
}

function readTag<Value>(
  { view, size, type }: Tag,
  struct: { readonly size: number; read(view: DataView): Value },
  name: string,
): Value {
  if (size >= struct.size) return struct.read(view);
  throw fileError(
    WHAT,
    `\`size\` of its ${name} tag (type ${type}) is ${size}, and must be ${struct.size}`,
  );
}

function findHeader(file: Uint8Array): number | undefined {
  const view = new DataView(file.buffer, file.byteOffset, Math.min(file.length, SEARCHED));
  let broken: number | undefined;
  for (let offset = 0; offset + header.size <= view.byteLength; offset += ALIGN) {
    if (view.getUint32(offset, true) !== MAGIC) continue;
    if (checksumOf(view, offset) === header.read(view, offset).checksum) return offset;
    broken ??= offset;
  }
  if (broken === undefined) return undefined;
  throw fileError(
    WHAT,
    `\`checksum\` of its header at byte ${broken} is ${
      hex(header.read(view, broken).checksum)
    }; with \`magic\`, \`architecture\` and \`header_length\` it must make 0: ${
      hex(checksumOf(view, broken))
    }`,
  );
}

function checksumOf(view: DataView, offset: number): number {
  const { magic, architecture, header_length } = header.read(view, offset);
  return -(magic + architecture + header_length) >>> 0;
}
