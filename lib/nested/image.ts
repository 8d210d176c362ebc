import { createHash } from "node:crypto";
import { bootParts } from "./boot_parts.ts";
import { requireFreeSpace, withCache } from "./cache_folder.ts";
import { cpio } from "./cpio.ts";
import { FileLock } from "./file_lock.ts";
import { findProgram } from "./host_program.ts";
import { guestRoot } from "./guest_root.ts";
import { initScript } from "./init_script.ts";
import { KEEP_PROGRAM, WAKE_PROGRAM } from "./guest_programs.ts";
import { type Nasm, requireNasm } from "./nasm.ts";
import { NestedError } from "./nested_error.ts";
import type { MachineProgram, NestedMachine } from "./nested_machine.ts";
import { installPackages, type ProgressListener } from "./packages.ts";
import { makeSealedFolder, openSealedFolder, pruneImages } from "./sealed_folder.ts";

/** A machine's image in the cache, booted and waiting for its command; held so that nobody replaces it meanwhile. */
export interface Image extends Disposable {
  /** Its folder. */
  folder: string;
  /** The path of the machine's program. */
  program: string;
  /** The kernel's bzImage. */
  vmlinuz: string;
}

/** What an image is made for and who hears of it. */
export interface ImageOptions {
  /** The machine. */
  machine: NestedMachine;
  /** Hears what is done. */
  onProgress: ProgressListener;
  /** Ends it. */
  signal?: AbortSignal;
}

const KEY_LENGTH = 16;

/** The programs that make a run's disk, and their package: Debian always has it, its container images do not. */
const DISK_PROGRAMS: readonly string[] = ["mke2fs", "debugfs"];
const DISK_PACKAGE = "e2fsprogs";

/**
 * The Debian packages that this host lacks to run a machine and that cannot be unpacked into the cache.
 *
 * @param machine The machine's program.
 */
export async function missingPackages(machine: MachineProgram): Promise<string[]> {
  const packages: string[] = [];
  if (await findProgram(machine.program) === undefined) packages.push(...machine.packages);
  // Those inside which commands run get them by a disk.
  const disk = "inside" in machine ? DISK_PROGRAMS.map((name) => findProgram(name)) : [];
  if ((await Promise.all(disk)).includes(undefined)) packages.push(DISK_PACKAGE);
  return packages;
}

/** The program that runs the machine; installed first, with what else is missing, when it is missing. */
export async function requireMachineProgram(
  machine: MachineProgram,
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<string> {
  const packages = await missingPackages(machine);
  if (packages.length > 0) {
    await installPackages(packages, "this host has no usable KVM", onProgress, signal);
  }
  const program = await findProgram(machine.program);
  if (program === undefined) {
    throw new NestedError(`${machine.packages.join(", ")} has no ${machine.program}`);
  }
  return program;
}

/** Everything that a snapshot depends on; another of anything is another image. */
async function ingredients(
  machine: NestedMachine,
  program: string,
  nasm: Nasm,
  kernel: string,
): Promise<Record<string, string>> {
  const identity = async (path: string): Promise<string> => {
    const { size, mtime } = await Deno.stat(path);
    return `${size} bytes of ${mtime?.toISOString()}`;
  };
  const { name, inside, recipe } = machine;
  const sources = [
    initScript(inside),
    WAKE_PROGRAM,
    KEEP_PROGRAM,
    ...Object.values(inside.programs),
  ];
  return {
    machine: `${name} ${recipe}`,
    modules: machine.kernelModules.join(" "),
    program: await identity(program),
    kernel,
    deno: `${Deno.version.deno}, ${await identity(Deno.execPath())}`,
    nasm: nasm.version,
    recipe: createHash("sha256").update(sources.join("\n")).digest("hex"),
  };
}

/**
 * The image of a machine that waits for its command, from the cache; made first, with all that it needs, when it is
 * missing or damaged. While the result is held, no other process replaces it.
 *
 * @param options The machine and who hears of it.
 * @param discard Whether to make it anew even if it looks whole.
 * @throws {NestedError} When something it is made of cannot be had, or the machine does not boot.
 */
export async function openImage(options: ImageOptions, discard = false): Promise<Image> {
  const { machine, onProgress, signal } = options;
  const program = await requireMachineProgram(machine, onProgress, signal);
  const nasm = await requireNasm(onProgress, signal);
  const parts = await bootParts(machine.name, machine.kernelModules, onProgress, signal);
  const made = await ingredients(machine, program, nasm, parts.kernel);
  const key = createHash("sha256").update(JSON.stringify(made)).digest("hex").slice(0, KEY_LENGTH);
  return await withCache(async (cache) => {
    const images = `${cache}/machines`;
    await Deno.mkdir(images, { recursive: true });
    const folder = `${images}/${machine.name}-${key}`;
    const lockFile = `${folder}.lock`;
    let mustBuild = discard;
    while (true) {
      if (mustBuild) {
        using _lock = await FileLock.exclusive(lockFile, signal);
        // Somebody else may have built it while we waited.
        if (discard || await openSealedFolder(folder) === undefined) {
          await pruneImages(images, machine.name);
          await requireFreeSpace(images);
          onProgress("booting the nested machine for the first time");
          await makeSealedFolder(folder, async (temporary) => {
            await machine.makeImage({
              program,
              parts,
              initramfs: cpio(await guestRoot(parts, nasm, machine.inside)),
              folder: temporary,
              nasm: `${nasm.folder}/nasm`,
              signal,
            });
            return made;
          });
          discard = false;
        }
      }
      const lock = await FileLock.shared(lockFile, signal);
      if (await openSealedFolder(folder) !== undefined) {
        await Deno.utime(folder, new Date(), new Date());
        const { vmlinuz } = parts;
        return { folder, program, vmlinuz, [Symbol.dispose]: () => lock[Symbol.dispose]() };
      }
      lock[Symbol.dispose]();
      mustBuild = true;
    }
  });
}
