import { basename } from "node:path";
import { imageFolder, QEMU_SVM } from "../../kvm/remote/machine_image.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { bootFolder } from "../boot_parts.ts";
import { withCache } from "../cache_folder.ts";
import { capture, findProgram } from "../host_program.ts";
import { FileLock } from "../file_lock.ts";
import { NestedError } from "../nested_error.ts";
import type { ProgressListener } from "../packages.ts";
import { openSealedFolder, sealFolder } from "../sealed_folder.ts";

/** Fast rather than small: nearly all of it is the machine's memory. */
const COMPRESS = "gzip -1";

async function tar(args: readonly string[], what: string, signal?: AbortSignal): Promise<void> {
  const program = await findProgram("tar");
  if (program === undefined) throw new NestedError(`Cannot ${what}: this system has no tar`);
  const { code, stderr } = await capture(program, args, { signal });
  if (code !== 0) throw new NestedError(`Cannot ${what}: ${stderr.trim()}`);
}

/**
 * Packs the image of the machine whose KVM tests use, and the kernel that it is made of, into a file.
 *
 * @param file Its path; a compressed tar archive.
 * @param signal Ends it.
 * @throws {NestedError} When it cannot be written.
 */
export async function exportKvmImage(file: string, signal?: AbortSignal): Promise<void> {
  await withCache(async (cache) => {
    const image = imageFolder(cache);
    using _lock = await FileLock.shared(`${image}.lock`, signal);
    const folders = [bootFolder(cache, QEMU_SVM), image].map((path) =>
      path.slice(cache.length + 1)
    );
    await tar(["-cSf", file, "-I", COMPRESS, "-C", cache, ...folders], `pack ${file}`, signal);
  });
}

/**
 * Unpacks what {@linkcode exportKvmImage} packed. Its state is kept where this host's QEMU is of the version that saved
 * it; else the machine is still to be booted, by the kernel that came along.
 *
 * @param file Its path.
 * @param program The path of QEMU.
 * @param onProgress Is told what is done.
 * @param signal Ends it.
 * @throws {NestedError} When the file is none of that kind, is damaged, or was packed by another version of vmexit.
 */
export async function importKvmImage(
  file: string,
  program: string,
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<void> {
  await withCache(async (cache) => {
    const image = imageFolder(cache);
    const boot = bootFolder(cache, QEMU_SVM);
    await Deno.mkdir(`${cache}/machines`, { recursive: true });
    const temporary = await Deno.makeTempDir({ dir: cache, prefix: "import-" });
    try {
      onProgress(`unpacking ${basename(file)}`);
      await tar(["-xSf", file, "-I", "gzip", "-C", temporary], `unpack ${file}`, signal);
      const unpacked = (folder: string) => `${temporary}${folder.slice(cache.length)}`;
      const [kernel, machine] = await Promise.all(
        [boot, image].map((folder) => openSealedFolder(unpacked(folder))),
      );
      if (kernel === undefined || machine === undefined) {
        throw new NestedError(
          `Cannot take ${file}: it is damaged, or another version of vmexit packed it`,
        );
      }
      using _lock = await FileLock.exclusive(`${image}.lock`, signal);
      await Deno.remove(boot, { recursive: true }).catch(() => {});
      await Deno.rename(unpacked(boot), boot);
      if (machine.made.version !== await qemuVersion(program)) return;
      const made = { ...machine.made, program, identity: processCalls().modified(program)! };
      await Deno.remove(`${unpacked(image)}/manifest.json`);
      await sealFolder(unpacked(image), image, made);
    } finally {
      await Deno.remove(temporary, { recursive: true });
    }
  });
}

/** What QEMU says of its version, in one line. */
export async function qemuVersion(program: string): Promise<string> {
  return (await capture(program, ["--version"])).stdout.split("\n")[0];
}
