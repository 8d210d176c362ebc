import { PC_MEMORY, REAL_MODE, RESET_VECTOR } from "../../x86/layout.ts";
import { hex } from "../../x86/hex.ts";
import type { ImageInit } from "../image_init.ts";
import { fileError, type RomShadow } from "../boot_protocol.ts";

const PAGE = 4096;
/** As much as there is room for above the pages that KVM takes. */
const LARGEST_ROM = 16 * 1024 * 1024;
/** Bytes from the reset vector to 4 GiB. */
const AT_RESET = 16;
/** `jmp` to a far pointer, near, and short (Intel SDM Vol. 2A, JMP). */
const JUMPS = [0xea, 0xe9, 0xeb];
/** What may stand before it: `nop`, `cli`, `cld`. */
const BEFORE_JUMP = [0x90, 0xfa, 0xfc];

/** The header of a UEFI firmware volume (UEFI PI 1.7, Vol. 3, 3.2.1), with which such firmware begins. */
const VOLUME = { SIGNATURE_OFFSET: 40, SIGNATURE: 0x4856465f } as const;

/** Whether a file looks like firmware: of whole pages, with a jump at the reset vector, or with a firmware volume. */
export function isRom(file: Uint8Array): boolean {
  if (file.length === 0 || file.length % PAGE !== 0 || file.length > LARGEST_ROM) return false;
  const { SIGNATURE_OFFSET, SIGNATURE } = VOLUME;
  const header = new DataView(file.buffer, file.byteOffset);
  if (header.getUint32(SIGNATURE_OFFSET, true) === SIGNATURE) return true;
  const first = [...file.subarray(-AT_RESET)].find((byte) => !BEFORE_JUMP.includes(byte));
  return first !== undefined && JUMPS.includes(first);
}

/**
 * Firmware, which ends at 4 GiB.
 *
 * @param shadow What shows its end below 1 MiB.
 * @throws {RangeError} When it is not of whole pages, or too large.
 */
export function romImage(file: Uint8Array<ArrayBuffer>, shadow: RomShadow = "rom"): ImageInit {
  if (shadow !== "rom" && shadow !== "ram") {
    throw new TypeError(
      `Cannot open the image with the option shadow ${
        JSON.stringify(shadow)
      }: it is "rom" or "ram"`,
    );
  }
  if (file.length === 0 || file.length % PAGE !== 0 || file.length > LARGEST_ROM) {
    throw fileError(
      "ROM",
      `it has ${file.length} bytes: give whole pages of ${PAGE}, ${hex(LARGEST_ROM)} at the most`,
    );
  }
  return {
    kind: "rom",
    what: "ROM",
    segments: [{
      address: BigInt(PC_MEMORY.end32 - file.length),
      bytes: file,
      size: file.length,
    }],
    entry: BigInt(RESET_VECTOR.codeBase + RESET_VECTOR.ip),
    bits: 16,
    protocol: { kind: "rom", shadow },
  };
}

const SECTOR = 512;
const SIGNATURE_OFFSET = 510;
const SIGNATURE = 0xaa55;
const FIRST_DISK = 0x80;
const FIRST_FLOPPY = 0x00;
/** The formats of floppies, in KiB. */
const FLOPPIES: readonly number[] = [160, 180, 320, 360, 720, 1200, 1440, 2880];

/** Whether a file begins with a boot sector, and may be a disk. */
export function isBootSector(file: Uint8Array): boolean {
  return file.length >= SECTOR && file.length % SECTOR === 0 && signatureOf(file) === SIGNATURE;
}

/**
 * The boot sector of a disk, as a BIOS loads it.
 *
 * @throws {RangeError} When it has no signature.
 */
export function bootSectorImage(file: Uint8Array<ArrayBuffer>): ImageInit {
  if (file.length < SECTOR || signatureOf(file) !== SIGNATURE) {
    throw fileError(
      "boot sector",
      file.length < SECTOR
        ? `it has ${file.length} bytes of ${SECTOR}: it is cut short`
        : `its signature at byte ${SIGNATURE_OFFSET} is ${hex(signatureOf(file))}, not ${
          hex(SIGNATURE)
        }`,
    );
  }
  const isFloppy = FLOPPIES.includes(file.length / 1024);
  return {
    kind: "boot-sector",
    what: file.length === SECTOR
      ? "boot sector"
      : `boot sector of a ${isFloppy ? "floppy" : "disk"} (${file.length} bytes)`,
    segments: [{
      address: BigInt(REAL_MODE.bootSector),
      bytes: file.slice(0, SECTOR),
      size: SECTOR,
    }],
    bits: 16,
    protocol: { kind: "boot-sector", drive: isFloppy ? FIRST_FLOPPY : FIRST_DISK },
  };
}

function signatureOf(file: Uint8Array): number {
  return file[SIGNATURE_OFFSET] | file[SIGNATURE_OFFSET + 1] << 8;
}
