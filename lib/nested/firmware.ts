import { cacheFolder, withCache } from "./cache_folder.ts";
import { FileLock } from "./file_lock.ts";
import { capture, findProgram } from "./host_program.ts";
import { NestedError } from "./nested_error.ts";
import { type ProgressListener, unpackPackages } from "./packages.ts";
import { makeSealedFolder, openSealedFolder } from "./sealed_folder.ts";

/**
 * What others wrote for machines without an operating system, and the project's tests boot: SeaBIOS in its two sizes, its
 * video BIOS for a plain VGA, and OVMF; GRUB's boot sector and its core image for a PC's BIOS; iPXE and Memtest86+ as the
 * Linux kernels that they pretend to be; the hypervisor Xen.
 */
export type FirmwareFile =
  | "bios.bin"
  | "bios-256k.bin"
  | "vgabios.bin"
  | "OVMF.fd"
  | "grub-boot.img"
  | "grub-core.img"
  | "ipxe.lkrn"
  | "memtest.bin"
  | "xen.gz";

/** Packages of Debian and Ubuntu; libdevmapper is what GRUB's program is linked with. */
const PACKAGES: readonly string[] = [
  "seabios",
  "ovmf",
  "grub-pc-bin",
  "grub-common",
  "libdevmapper1.02.1",
  "ipxe",
  "memtest86+",
];

/** The hypervisor's package has its version in its name. */
const XEN_PACKAGE = /^xen-hypervisor-[\d.]+-amd64$/;

const GRUB = "usr/lib/grub/i386-pc";

/** Where the packages have the files that are kept as they are: the first that there is. */
const FILES: Readonly<
  Record<Exclude<FirmwareFile, "grub-core.img">, { folder: string; name: RegExp }>
> = {
  "bios.bin": { folder: "usr/share/seabios", name: /^bios\.bin$/ },
  "bios-256k.bin": { folder: "usr/share/seabios", name: /^bios-256k\.bin$/ },
  "vgabios.bin": { folder: "usr/share/seabios", name: /^vgabios-isavga\.bin$/ },
  "OVMF.fd": { folder: "usr/share/ovmf", name: /^OVMF\.fd$/ },
  "grub-boot.img": { folder: GRUB, name: /^boot\.img$/ },
  "ipxe.lkrn": { folder: "boot", name: /^ipxe\.lkrn$/ },
  // "memtest86+x64.bin", later "mt86+x64".
  "memtest.bin": { folder: "boot", name: /^m.*86\+.?x64(\.bin)?$/ },
  "xen.gz": { folder: "boot", name: /^xen-.*\.gz$/ },
};

/** What GRUB's core image has beside its kernel: disks, their partitions, an archive as a file system, and loaders. */
// deno-fmt-ignore
const GRUB_MODULES: readonly string[] = [
  "biosdisk", "part_msdos", "newc", "normal", "configfile", "serial", "echo", "multiboot", "multiboot2", "linux", "linux16", "boot",
];
/** Where it looks for `grub.cfg`. */
const GRUB_PREFIX = "(hd0,msdos1)/grub";

function firmwareFolder(): string {
  return `${cacheFolder()}/firmware-2`;
}

/**
 * Finds a file of the firmware in the cache.
 *
 * @returns Its path, or `undefined` when it has not been fetched ({@linkcode requireFirmware}), or is damaged.
 */
export async function findFirmware(file: FirmwareFile): Promise<string | undefined> {
  const folder = firmwareFolder();
  return await openSealedFolder(folder) === undefined ? undefined : `${folder}/${file}`;
}

/**
 * Fetches the firmware into the cache, where it is not there already: from Debian's or Ubuntu's packages, which are
 * unpacked and not installed.
 *
 * @param onProgress Is told what is downloaded.
 * @param signal Ends the download.
 * @throws {NestedError} When the packages cannot be had.
 */
export async function requireFirmware(
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<void> {
  if (await openSealedFolder(firmwareFolder()) !== undefined) return;
  await withCache(async (cache) => {
    using _lock = await FileLock.exclusive(`${cache}/firmware.lock`, signal);
    if (await openSealedFolder(firmwareFolder()) !== undefined) return;
    await makeSealedFolder(firmwareFolder(), async (folder) => {
      const unpacked = `${folder}/unpacked`;
      await Deno.mkdir(unpacked);
      const what = "SeaBIOS, OVMF, GRUB, iPXE, Memtest86+ and Xen";
      const packages = await unpackPackages(findPackages, unpacked, what, onProgress, signal);
      for (const [name, place] of Object.entries(FILES)) {
        const source = `${unpacked}/${place.folder}`;
        await Deno.copyFile(
          `${source}/${await firstNamed(source, place.name)}`,
          `${folder}/${name}`,
        );
      }
      await makeGrubCore(unpacked, `${folder}/grub-core.img`);
      await Deno.remove(unpacked, { recursive: true });
      return { packages: packages.join(" ") };
    });
  });
}

/** The names of the packages, of which the newest Xen; `undefined` when the lists know none. */
async function findPackages(): Promise<string[] | undefined> {
  const apt = await findProgram("apt-cache");
  if (apt === undefined) return undefined;
  const { stdout } = await capture(apt, ["pkgnames", "xen-hypervisor-"]);
  const xen = stdout.split("\n").filter((name) => XEN_PACKAGE.test(name))
    .sort(new Intl.Collator("en", { numeric: true }).compare).at(-1);
  return xen === undefined ? undefined : [...PACKAGES, xen];
}

async function firstNamed(folder: string, pattern: RegExp): Promise<string> {
  for await (const { name } of Deno.readDir(folder)) {
    if (pattern.test(name)) return name;
  }
  throw new NestedError(`Cannot find ${pattern.source} in ${folder} of the packages`);
}

/** GRUB's core image, which its own program puts together out of its modules. */
async function makeGrubCore(unpacked: string, path: string): Promise<void> {
  const libraries = ["usr/lib", "lib"].map((folder) => `${unpacked}/${folder}/x86_64-linux-gnu`);
  // deno-fmt-ignore
  const { code, stderr } = await capture(`${unpacked}/usr/bin/grub-mkimage`, [
    "--directory", `${unpacked}/${GRUB}`, "--format", "i386-pc", "--prefix", GRUB_PREFIX, "--output", path, ...GRUB_MODULES,
  ], { env: { LD_LIBRARY_PATH: libraries.join(":") } });
  if (code !== 0) throw new NestedError(`Cannot make GRUB's core image: ${stderr.trim()}`);
}
