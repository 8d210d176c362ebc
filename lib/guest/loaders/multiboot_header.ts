import { struct, u32 } from "../../ffi/struct.ts";
import { hex } from "../../x86/hex.ts";
import type { ImageInit } from "../image_init.ts";
import { fileError } from "../boot_protocol.ts";
import { addressedImage, type AddressFields } from "./address_fields.ts";

/** `struct multiboot_header` (Multiboot Specification 0.6.96, 3.1.1). */
const header = struct("multiboot_header", {
  magic: u32,
  flags: u32,
  checksum: u32,
  header_addr: u32,
  load_addr: u32,
  load_end_addr: u32,
  bss_end_addr: u32,
  entry_addr: u32,
  mode_type: u32,
  width: u32,
  height: u32,
  depth: u32,
});

const MAGIC = 0x1bad_b002;
const SEARCHED = 8192;
const ALIGN = 4;
/** Magic, flags and checksum, which every header has. */
const SHORTEST = 12;

const FLAG = { PAGE_ALIGN: 1 << 0, MEMORY_INFO: 1 << 1, VIDEO_MODE: 1 << 2, ADDRESSES: 1 << 16 };
/** Bits that a loader has to know; it must refuse others of the lower half. */
const KNOWN_FLAGS = FLAG.PAGE_ALIGN | FLAG.MEMORY_INFO | FLAG.VIDEO_MODE;
const REQUIRED_FLAGS = 0xffff;

/** What a multiboot header says. */
export interface MultibootHeader {
  /** Whether the kernel asks about its screen. */
  readonly textScreen: boolean;
  /** What is loaded, where the header says it; otherwise the file is ELF. */
  readonly image: ImageInit | undefined;
}

const WHAT = "multiboot kernel";

/**
 * Reads the multiboot header in a file's first 8 KiB.
 *
 * @returns Undefined where there is none.
 * @throws {RangeError} When there is one that cannot be: the message names the field.
 */
export function readMultibootHeader(
  file: Uint8Array<ArrayBuffer>,
): MultibootHeader | undefined {
  const offset = findHeader(file);
  if (offset === undefined) return undefined;
  // The fields that its flags do not have may lie past the end of the file.
  const whole = new Uint8Array(header.size);
  whole.set(file.subarray(offset, offset + header.size));
  const fields = header.read(new DataView(whole.buffer));
  const unknown = fields.flags & REQUIRED_FLAGS & ~KNOWN_FLAGS;
  if (unknown !== 0) {
    throw fileError(
      WHAT,
      `\`flags\` of its header at byte ${offset} has bits ${
        hex(unknown)
      } set, which a loader must know and none does`,
    );
  }
  const hasAddresses = (fields.flags & FLAG.ADDRESSES) !== 0;
  if (hasAddresses) checkLength(file, offset, header.offsetOf("mode_type"), "entry_addr");
  const hasVideo = (fields.flags & FLAG.VIDEO_MODE) !== 0;
  if (hasVideo) checkLength(file, offset, header.size, "depth");
  return {
    textScreen: hasVideo,
    image: hasAddresses
      ? addressedImage(file, fields satisfies AddressFields, {
        what: WHAT,
        headerOffset: offset,
        entry: { name: "entry_addr", address: fields.entry_addr },
      })
      : undefined,
  };
}

function checkLength(file: Uint8Array, offset: number, size: number, field: string): void {
  if (offset + size <= file.length) return;
  throw fileError(
    WHAT,
    `its header at byte ${offset} is cut short before \`${field}\`: the file has ${file.length} bytes`,
  );
}

function findHeader(file: Uint8Array): number | undefined {
  const view = new DataView(file.buffer, file.byteOffset, Math.min(file.length, SEARCHED));
  let broken: number | undefined;
  for (let offset = 0; offset + SHORTEST <= view.byteLength; offset += ALIGN) {
    if (view.getUint32(offset, true) !== MAGIC) continue;
    if (checksumOf(view, offset) === view.getUint32(offset + 8, true)) return offset;
    broken ??= offset;
  }
  if (broken === undefined) return undefined;
  throw fileError(
    WHAT,
    `\`checksum\` of its header at byte ${broken} is ${
      hex(view.getUint32(broken + 8, true))
    }; with \`magic\` and \`flags\` it must make 0: ${hex(checksumOf(view, broken))}`,
  );
}

function checksumOf(view: DataView, offset: number): number {
  return -(MAGIC + view.getUint32(offset + 4, true)) >>> 0;
}
