import { requireFreeSpace, withCache } from "./cache_folder.ts";
import { capture, findProgram } from "./host_program.ts";
import { FileLock } from "./file_lock.ts";
import { resolveModules } from "./kernel_modules.ts";
import { NestedError } from "./nested_error.ts";
import { type ProgressListener, unpackPackages } from "./packages.ts";
import { makeSealedFolder, openSealedFolder } from "./sealed_folder.ts";

/** The kernel and the shell that a nested machine boots, in the cache. */
export interface BootParts {
  /** The kernel's version, as in `/lib/modules`. */
  kernel: string;
  /** The path of its bzImage. */
  vmlinuz: string;
  /** The path of a static busybox. */
  busybox: string;
  /** Paths of the modules to load, in this order. */
  modules: string[];
}

/** Names of the small kernels, most fitting first: Debian's, Ubuntu's, and the ordinary ones. */
const KERNEL_PACKAGES: readonly string[] = [
  "linux-image-cloud-amd64",
  "linux-image-virtual",
  "linux-image-generic",
  "linux-image-amd64",
];

/** Raised when what is put into the folder changes. */
const RECIPE = "3";

/** Where a machine's kernel is, or is to be, in the cache. */
export function bootFolder(cache: string, machine: string): string {
  return `${cache}/boot-${machine}-${RECIPE}`;
}

async function kernelPackages(): Promise<string[] | undefined> {
  const apt = await findProgram("apt-cache");
  if (apt === undefined) return undefined;
  for (const candidate of KERNEL_PACKAGES) {
    const depends = await capture(apt, [
      "depends",
      "--recurse",
      "--no-recommends",
      "--no-suggests",
      "--no-conflicts",
      "--no-breaks",
      "--no-replaces",
      "--no-enhances",
      candidate,
    ]);
    const names = depends.stdout.split("\n").filter((line) =>
      /^linux-(image|modules)-\d[\w.+-]*$/.test(line)
    );
    if (names.length > 0) return [...new Set(names), "busybox-static"];
  }
  return undefined;
}

async function onlyEntry(folder: string, prefix: string): Promise<string> {
  for await (const entry of Deno.readDir(folder)) {
    if (entry.name.startsWith(prefix)) return entry.name;
  }
  throw new NestedError(`The kernel's package has no ${prefix} in ${folder}`);
}

async function firstThatExists(paths: readonly string[]): Promise<string> {
  for (const path of paths) {
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  throw new NestedError(`The packages have none of ${paths.join(", ")}`);
}

/** Puts the parts into a folder and gives the kernel's version. */
async function build(
  temporary: string,
  wanted: readonly string[],
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<string> {
  const unpacked = `${temporary}/unpacked`;
  await Deno.mkdir(unpacked, { recursive: true });
  await unpackPackages(kernelPackages, unpacked, "a Linux kernel and busybox", onProgress, signal);
  const busybox = await firstThatExists([`${unpacked}/bin/busybox`, `${unpacked}/usr/bin/busybox`]);
  const xz = async (bytes: Uint8Array): Promise<Uint8Array> => {
    const child = new Deno.Command(busybox, {
      args: ["xzcat"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const [output] = await Promise.all([
      child.output(),
      new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeTo(child.stdin),
    ]);
    return output.stdout;
  };
  const library = await firstThatExists([`${unpacked}/lib/modules`, `${unpacked}/usr/lib/modules`]);
  const kernel = await onlyEntry(library, "");
  const modules = await resolveModules(`${library}/${kernel}`, wanted, xz);
  await Deno.mkdir(`${temporary}/modules`);
  for (const [index, { name, bytes }] of modules.entries()) {
    const number = String(index).padStart(2, "0");
    await Deno.writeFile(`${temporary}/modules/${number}-${name}.ko`, bytes);
  }
  await Deno.copyFile(busybox, `${temporary}/busybox`);
  await Deno.copyFile(
    `${unpacked}/boot/${await onlyEntry(`${unpacked}/boot`, "vmlinuz-")}`,
    `${temporary}/vmlinuz`,
  );
  await Deno.remove(unpacked, { recursive: true });
  return kernel;
}

/**
 * The kernel, its modules and busybox from the cache; downloaded and unpacked first when they are missing or damaged.
 *
 * @param machine The machine's name: each has its own set of modules.
 * @param wanted The modules it needs.
 * @param onProgress Is told what is downloaded.
 * @param signal Ends the download.
 * @throws {NestedError} When the packages cannot be had.
 */
export async function bootParts(
  machine: string,
  wanted: readonly string[],
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<BootParts> {
  return await withCache(async (cache) => {
    const folder = bootFolder(cache, machine);
    let manifest = await openSealedFolder(folder);
    if (manifest === undefined) {
      using _lock = await FileLock.exclusive(`${cache}/boot.lock`, signal);
      manifest = await openSealedFolder(folder);
      if (manifest === undefined) {
        await requireFreeSpace(cache);
        await makeSealedFolder(folder, async (temporary) => ({
          kernel: await build(temporary, wanted, onProgress, signal),
        }));
        manifest = await openSealedFolder(folder);
      }
    }
    if (manifest === undefined) {
      throw new NestedError(`${folder} changes while it is read: run it again`);
    }
    const modules = manifest.files.map(({ name }) => name).filter((name) =>
      name.startsWith("modules/")
    );
    return {
      kernel: manifest.made.kernel,
      vmlinuz: `${folder}/vmlinuz`,
      busybox: `${folder}/busybox`,
      modules: modules.map((name) => `${folder}/${name}`),
    };
  });
}
