import { struct, u32 } from "../../ffi/struct.ts";
import { hex } from "../../x86/hex.ts";
import { type OpenElf, slice } from "../elf_file.ts";
import { fileError } from "../boot_protocol.ts";

const PT_NOTE = 4;
/** `XEN_ELFNOTE_PHYS32_ENTRY` (xen/include/public/elfnote.h). */
const PHYS32_ENTRY = 18;
const XEN = "Xen\0";
const ALIGN = 4;
const WHAT = "PVH kernel";

/** `Elf32_Nhdr`, which both classes have. */
const noteHeader = struct("Elf32_Nhdr", { n_namesz: u32, n_descsz: u32, n_type: u32 });

/**
 * The physical address at which a kernel is entered by PVH's boot ABI, from its note.
 *
 * @returns Undefined where it has no such note.
 * @throws {RangeError} When a note cannot be: the message names the field.
 */
export function readPvhEntry({ bytes, programHeaders }: OpenElf): number | undefined {
  for (const { p_type, p_offset, p_filesz } of programHeaders) {
    if (p_type !== PT_NOTE) continue;
    const entry = entryIn(slice(bytes, p_offset, p_filesz, "`p_offset` + `p_filesz` of its notes"));
    if (entry !== undefined) return entry;
  }
  return undefined;
}

function entryIn(notes: Uint8Array): number | undefined {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.length);
  for (let at = 0; at + noteHeader.size <= notes.length;) {
    const { n_namesz, n_descsz, n_type } = noteHeader.read(view, at);
    const name = at + noteHeader.size;
    const content = name + up(n_namesz);
    const end = content + up(n_descsz);
    // Other tools' notes are none of ours, and may be aligned otherwise.
    if (content + n_descsz > notes.length) return undefined;
    const isXen = new TextDecoder().decode(notes.subarray(name, name + n_namesz)) === XEN;
    if (isXen && n_type === PHYS32_ENTRY) return entryOf(view, content, n_descsz);
    at = end;
  }
  return undefined;
}

function entryOf(view: DataView, at: number, size: number): number {
  if (size !== 4 && size !== 8) {
    throw fileError(
      WHAT,
      `\`n_descsz\` of its note XEN_ELFNOTE_PHYS32_ENTRY is ${size}, not 4 or 8`,
    );
  }
  const high = size === 8 ? view.getUint32(at + 4, true) : 0;
  if (high === 0) return view.getUint32(at, true);
  throw fileError(
    WHAT,
    `its note XEN_ELFNOTE_PHYS32_ENTRY has ${
      hex(view.getBigUint64(at, true))
    }, which is no address of 32 bits`,
  );
}

function up(size: number): number {
  return Math.ceil(size / ALIGN) * ALIGN;
}
