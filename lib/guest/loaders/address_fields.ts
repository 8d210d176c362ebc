import { hex } from "../../x86/hex.ts";
import type { ImageInit } from "../image_init.ts";
import { fileError } from "../boot_protocol.ts";

/**
 * What both Multiboot specifications have for kernels that are no ELF files ("a.out kludge"): where the file's bytes
 * belong.
 */
export interface AddressFields {
  /** The address that the header itself has when it is loaded. */
  readonly header_addr: number;
  /** Where loading begins. */
  readonly load_addr: number;
  /** Where it ends; 0 for the end of the file. */
  readonly load_end_addr: number;
  /** Where the zeros behind it end; 0 for none. */
  readonly bss_end_addr: number;
}

/** What is around the address fields. */
interface AddressContext {
  /** The kind of file, for messages. */
  readonly what: string;
  /** Where the header lies in the file. */
  readonly headerOffset: number;
  /** Where the kernel starts, and the name of the field that says so. */
  readonly entry: { readonly name: string; readonly address: number };
}

/**
 * What a kernel puts in memory by its address fields.
 *
 * @throws {RangeError} When they contradict each other or the file; the message names the field.
 */
export function addressedImage(
  file: Uint8Array<ArrayBuffer>,
  { header_addr, load_addr, load_end_addr, bss_end_addr }: AddressFields,
  { what, headerOffset, entry }: AddressContext,
): ImageInit {
  const refuse = (field: string, value: number, why: string) =>
    fileError(what, `\`${field}\` of its header is ${hex(value)}, ${why}`);
  if (load_addr > header_addr) {
    throw refuse("load_addr", load_addr, `above \`header_addr\`, ${hex(header_addr)}`);
  }
  const start = headerOffset - (header_addr - load_addr);
  if (start < 0) {
    throw refuse(
      "load_addr",
      load_addr,
      `${
        header_addr - load_addr
      } bytes below \`header_addr\`, but the header lies at byte ${headerOffset} of the file`,
    );
  }
  const length = load_end_addr === 0 ? file.length - start : load_end_addr - load_addr;
  if (length <= 0) {
    throw refuse("load_end_addr", load_end_addr, `not above \`load_addr\`, ${hex(load_addr)}`);
  }
  if (start + length > file.length) {
    throw refuse(
      "load_end_addr",
      load_end_addr,
      `so that ${length} bytes are loaded from byte ${start} of the file, which has ${file.length}: it is cut short`,
    );
  }
  const size = bss_end_addr === 0 ? length : bss_end_addr - load_addr;
  if (size < length) {
    throw refuse(
      "bss_end_addr",
      bss_end_addr,
      `below the end of what is loaded, ${hex(load_addr + length)}`,
    );
  }
  if (entry.address < load_addr || entry.address >= load_addr + size) {
    throw refuse(
      entry.name,
      entry.address,
      `outside of what is loaded, ${hex(load_addr)}–${hex(load_addr + size - 1)}`,
    );
  }
  return {
    segments: [{
      address: BigInt(load_addr),
      bytes: file.slice(start, start + length),
      size,
    }],
    entry: BigInt(entry.address),
    bits: 32,
  };
}
