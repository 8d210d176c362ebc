import { type BootParts, bootParts } from "../../lib/nested/boot_parts.ts";
import { cpio, type CpioEntry } from "../../lib/nested/cpio.ts";
import { capture } from "../../lib/nested/host_program.ts";

/** The name under which the cache keeps the kernel with the modules of a guest on vmexit's own board. */
const GUEST = "guest-disks";

/** What the kernel needs for a virtio disk on PCI and for one on PIIX's IDE, and a file system on them. */
const MODULES: readonly string[] = ["virtio_pci", "virtio_blk", "ata_piix", "sd_mod", "ext4"];

/** Debian's kernel, as a nested machine boots it, from the cache, where it is put first if it is not there. */
export function debianKernel(): Promise<BootParts> {
  return bootParts(GUEST, MODULES, () => {});
}

/**
 * A first file system: busybox, the kernel's modules in the order of their names, and an `/init`.
 *
 * @param init The shell script.
 */
export async function initramfs(parts: BootParts, init: string): Promise<Uint8Array<ArrayBuffer>> {
  const modules: CpioEntry[] = [];
  for (const path of parts.modules) {
    const content = await Deno.readFile(path);
    modules.push({ path: `modules/${path.slice(path.lastIndexOf("/") + 1)}`, content });
  }
  return cpio([
    ...["bin", "dev", "mnt", "modules", "proc"].map((path) => ({ path })),
    ...modules,
    { path: "bin/busybox", content: await Deno.readFile(parts.busybox) },
    { path: "init", content: new TextEncoder().encode(init) },
  ]);
}

const DISK_SIZE = 256 * 1024;

/**
 * An empty ext2 file system.
 *
 * @param busybox The path of busybox, which makes it.
 * @param label What stands in the first sector, which the file system leaves to boot loaders.
 */
export async function ext2(busybox: string, label: string): Promise<Uint8Array<ArrayBuffer>> {
  const path = await Deno.makeTempFile({ prefix: "vmexit-ext2-" });
  try {
    await Deno.truncate(path, DISK_SIZE);
    const { code, stderr } = await capture(busybox, ["mke2fs", "-F", path]);
    if (code !== 0) throw new Error(`busybox made no file system: ${stderr}`);
    const bytes = await Deno.readFile(path);
    bytes.set(new TextEncoder().encode(label));
    return bytes;
  } finally {
    await Deno.remove(path);
  }
}
