const MZ = 0x5a4d;
const PE = 0x4550;
/** `e_lfanew`: where a DOS header has the offset of the PE header (PE Format, "MS-DOS Stub"). */
const E_LFANEW = 0x3c;
const COFF_HEADER_SIZE = 20;
/** `Subsystem` in the optional header, of PE32 and PE32+. */
const SUBSYSTEM = 68;
/** `IMAGE_SUBSYSTEM_EFI_APPLICATION` and its like. */
const EFI_SUBSYSTEMS: Readonly<Record<number, string>> = {
  10: "application",
  11: "boot service driver",
  12: "runtime driver",
  13: "ROM",
};

/** What compressed files begin with. */
const COMPRESSED: readonly (readonly [name: string, magic: readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["lz4", [0x04, 0x22, 0x4d, 0x18]],
  ["bzip2", [0x42, 0x5a, 0x68]],
];

/**
 * Refuses files that are known, and cannot be booted.
 *
 * @throws {TypeError} When it is one.
 */
export function refuseForeignFile(file: Uint8Array<ArrayBuffer>): void {
  const [compression] =
    COMPRESSED.find(([, magic]) => magic.every((byte, index) => file[index] === byte)) ?? [];
  if (compression !== undefined) {
    throw new TypeError(
      `Cannot open the image: it is compressed by ${compression}. Unpack it, and open what comes out.`,
    );
  }
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  if (file.length < E_LFANEW + 4 || view.getUint16(0, true) !== MZ) return;
  const header = view.getUint32(E_LFANEW, true);
  const subsystemAt = header + 4 + COFF_HEADER_SIZE + SUBSYSTEM;
  if (subsystemAt + 2 > file.length || view.getUint32(header, true) !== PE) return;
  const subsystem = view.getUint16(subsystemAt, true);
  const efi = EFI_SUBSYSTEMS[subsystem];
  throw new TypeError(
    efi === undefined
      ? `Cannot open the image: it is a program of Windows (PE, \`Subsystem\` ${subsystem})`
      : `Cannot open the image: it is an EFI ${efi} (PE, \`Subsystem\` ${subsystem}), which UEFI firmware relocates and ` +
        "calls with its system table; a machine starts without firmware. Boot the firmware, as a ROM, with a disk that " +
        "has this file, or build the kernel as ELF.",
  );
}
