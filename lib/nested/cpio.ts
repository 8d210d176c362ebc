/** One entry of an initramfs. */
export interface CpioEntry {
  /** Its path, without a leading slash. */
  path: string;
  /** A file's bytes, or a symbolic link's target; a directory has neither. */
  content?: Uint8Array | { link: string };
  /** Permission bits; 0o755 unless told. */
  permissions?: number;
}

const TYPE = { directory: 0o040000, file: 0o100000, link: 0o120000 } as const;
const ALIGNMENT = 4;

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

/**
 * An archive in cpio's "newc" format, which the kernel unpacks as its first root file system (Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 * @param entries What it holds; a directory stands before what is in it.
 * @returns The archive.
 */
export function cpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const parts = [...entries, { path: "TRAILER!!!", permissions: 0 }].map((entry, index) => {
    const content = "content" in entry ? entry.content : undefined;
    const data = content === undefined
      ? new Uint8Array()
      : content instanceof Uint8Array
      ? content
      : encoder.encode(content.link);
    const type = content === undefined
      ? TYPE.directory
      : content instanceof Uint8Array
      ? TYPE.file
      : TYPE.link;
    const name = encoder.encode(`${entry.path}\0`);
    const numbers = [
      index + 1,
      type | (entry.permissions ?? 0o755),
      ...[0, 0, 1, 0], // owner, group, links, time of modification
      data.length,
      ...[0, 0, 0, 0], // device and special device, major and minor
      name.length,
      0, // the checksum, which newc does not use
    ];
    const header = encoder.encode(
      "070701" + numbers.map((n) => n.toString(16).padStart(8, "0")).join(""),
    );
    return { header, name, data };
  });
  const size = parts.reduce(
    (sum, { header, name, data }) =>
      sum + padded(header.length + name.length) + padded(data.length),
    0,
  );
  const archive = new Uint8Array(size);
  let offset = 0;
  for (const { header, name, data } of parts) {
    archive.set(header, offset);
    archive.set(name, offset + header.length);
    offset += padded(header.length + name.length);
    archive.set(data, offset);
    offset += padded(data.length);
  }
  return archive;
}
