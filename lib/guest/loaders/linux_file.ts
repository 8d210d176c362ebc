import { hex } from "../../x86/hex.ts";
import { LINUX } from "../../x86/layout.ts";
import {
  ENTRY_64_OFFSET,
  LOAD_FLAG,
  SETUP_HEADER,
  setupHeader,
  XLOAD_FLAG,
} from "../../x86/boot/protocols/linux_kernel.ts";
import { LINUX_SETUP_ENTRY } from "../../x86/boot/protocols/linux_real_mode.ts";
import type { ImageInit } from "../image_init.ts";
import { fileError } from "../boot_protocol.ts";

const HDRS = 0x5372_6448;
const HDRS_OFFSET = SETUP_HEADER + setupHeader.offsetOf("header");
const BOOT_FLAG = 0xaa55;
const SECTOR = 512;
/** `setup_sects` of kernels that leave it 0. */
const DEFAULT_SETUP_SECTORS = 4;
/** The first protocol with `cmdline_size`: before it the command line had 255 characters. */
const VERSION_CMDLINE_SIZE = 0x206;
const VERSION_PREF_ADDRESS = 0x20a;
const OLD_CMDLINE_SIZE = 255;
/** The first protocol with `initrd_addr_max`; what it was before. */
const VERSION_INITRD_MAX = 0x203;
const OLD_INITRD_MAX = 0x37ff_ffff;
const WHAT = "Linux kernel";

/**
 * Reads a bzImage: the setup header's fields, and the protected-mode kernel behind the real-mode code.
 *
 * @returns Undefined where the file is none.
 * @throws {RangeError} When it is damaged or older than bzImage (2.00): the message names the field.
 */
export function readLinuxFile(file: Uint8Array<ArrayBuffer>): ImageInit | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  if (file.length < HDRS_OFFSET + 4 || view.getUint32(HDRS_OFFSET, true) !== HDRS) return undefined;
  const header = headerBytes(file);
  const fields = setupHeader.read(new DataView(header.buffer));
  checkFields(fields);
  const setupSectors = fields.setup_sects === 0 ? DEFAULT_SETUP_SECTORS : fields.setup_sects;
  const start = (1 + setupSectors) * SECTOR;
  if (start >= file.length) {
    throw fileError(
      WHAT,
      `\`setup_sects\` is ${fields.setup_sects}, so that the kernel begins at byte ${start} of ${file.length}: ` +
        "it is cut short",
    );
  }
  const bytes = file.slice(start);
  const has64BitEntry = (fields.xloadflags & XLOAD_FLAG.kernel64) !== 0;
  if (has64BitEntry && bytes.length <= ENTRY_64_OFFSET) {
    throw fileError(
      WHAT,
      `\`xloadflags\` says that there is an entry at ${
        hex(ENTRY_64_OFFSET)
      }, and the kernel has ${bytes.length} bytes`,
    );
  }
  // iPXE leaves out its address: what is there is no code.
  const has32BitEntry = fields.code32_start !== 0;
  const load = loadAddress(fields);
  return {
    kind: "linux",
    what: `Linux kernel (boot protocol ${fields.version >> 8}.${
      String(fields.version & 0xff).padStart(2, "0")
    }${has64BitEntry ? ", 64 bits" : has32BitEntry ? "" : ", 16 bits"})`,
    segments: [{ address: BigInt(load), bytes, size: bytes.length }],
    ...has64BitEntry
      ? { entry: BigInt(load + ENTRY_64_OFFSET), bits: 64 }
      : has32BitEntry
      ? { entry: BigInt(load), bits: 32 }
      : { entry: BigInt(LINUX_SETUP_ENTRY), bits: 16 },
    protocol: {
      kind: "linux",
      header: headerToHandOn(header, fields.version),
      setup: file.slice(0, start),
      has32BitEntry,
      has64BitEntry,
      initSize: Math.max(bytes.length, fields.init_size),
    },
  };
}

type Fields = ReturnType<typeof setupHeader.read>;

/** The setup header, filled up with zeros: what is behind its end is not the header's. */
function headerBytes(file: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  // The short jump's displacement counts from the byte behind it, "HdrS".
  const end = HDRS_OFFSET + file[HDRS_OFFSET - 1];
  if (end > file.length) {
    throw fileError(
      WHAT,
      `\`jump\` says that the setup header ends at byte ${end} of ${file.length}: it is cut short`,
    );
  }
  const bytes = new Uint8Array(Math.max(setupHeader.size, end - SETUP_HEADER));
  bytes.set(file.subarray(SETUP_HEADER, end));
  return bytes;
}

/** What a loader hands on, with what old headers do not say. */
function headerToHandOn(
  header: Uint8Array<ArrayBuffer>,
  version: number,
): Uint8Array<ArrayBuffer> {
  const view = new DataView(header.buffer);
  if (version < VERSION_CMDLINE_SIZE) {
    setupHeader.write(view, 0, { cmdline_size: OLD_CMDLINE_SIZE });
  }
  if (version < VERSION_INITRD_MAX) {
    setupHeader.write(view, 0, { initrd_addr_max: OLD_INITRD_MAX });
  }
  return header;
}

function checkFields({ boot_flag, version, loadflags }: Fields): void {
  if (boot_flag !== BOOT_FLAG) {
    throw fileError(WHAT, `\`boot_flag\` is ${hex(boot_flag)}, not ${hex(BOOT_FLAG)}`);
  }
  if (version < 0x200) {
    throw fileError(WHAT, `\`version\` of its boot protocol is ${hex(version)}, below 2.00`);
  }
  if ((loadflags & LOAD_FLAG.loadedHigh) === 0) {
    throw fileError(
      WHAT,
      "`loadflags` has LOADED_HIGH clear: it is a zImage, which is loaded at 64 KiB and started in real mode; " +
        "build a bzImage",
    );
  }
}

function loadAddress({ version, relocatable_kernel, pref_address, code32_start }: Fields): number {
  const isMovable = version >= VERSION_PREF_ADDRESS && relocatable_kernel !== 0;
  if (!isMovable || pref_address === 0n) return code32_start === 0 ? LINUX.code : code32_start;
  if (pref_address < 2n ** 32n) return Number(pref_address);
  throw fileError(WHAT, `\`pref_address\` is ${hex(pref_address)}, above 4 GiB`);
}
