import { createHash } from "node:crypto";
import { FileLock } from "./file_lock.ts";

/** What one file of a sealed folder was when it was sealed. */
interface SealedFile {
  /** Its path within the folder. */
  name: string;
  /** Its size in bytes. */
  size: number;
  /** When it was last modified, in milliseconds since 1970. */
  modified: number;
  /** The SHA-256 of its content, in hex. */
  sha256: string;
}

/** The record that completes a folder: one without it does not count. */
interface Manifest {
  /** What the folder was made of, for people. */
  made: Record<string, string>;
  /** Its files. */
  files: SealedFile[];
}

const MANIFEST = "manifest.json";
const CHUNK = 1 << 20;

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const buffer = new Uint8Array(CHUNK);
  for (let n = await file.read(buffer); n !== null; n = await file.read(buffer)) {
    hash.update(buffer.subarray(0, n));
  }
  return hash.digest("hex");
}

async function filesBelow(folder: string, prefix = ""): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(`${folder}/${prefix}`)) {
    const name = `${prefix}${entry.name}`;
    if (entry.isDirectory) names.push(...await filesBelow(folder, `${name}/`));
    else names.push(name);
  }
  return names.sort();
}

/**
 * Completes a folder: records size, time and SHA-256 of every file in a manifest, then moves the folder to its final
 * place in one step, so that whoever finds it there finds it whole. What was at that place is removed. Call it under a
 * lock.
 *
 * @param folder The finished folder, on the same file system as `target`.
 * @param target Its final path.
 * @param made What it was made of, for people.
 */
export async function sealFolder(
  folder: string,
  target: string,
  made: Record<string, string>,
): Promise<void> {
  const files: SealedFile[] = [];
  for (const name of await filesBelow(folder)) {
    const { size, mtime } = await Deno.stat(`${folder}/${name}`);
    const modified = mtime?.getTime() ?? 0;
    files.push({ name, size, modified, sha256: await sha256(`${folder}/${name}`) });
  }
  const manifest: Manifest = { made, files };
  await Deno.writeTextFile(`${folder}/${MANIFEST}`, JSON.stringify(manifest, undefined, 2));
  await Deno.remove(target, { recursive: true }).catch(() => {});
  await Deno.rename(folder, target);
}

/** What the name of a folder that is being made ends with. */
const UNFINISHED = ".new";

/**
 * Makes a sealed folder: beside its place, under a name of its own, so that nobody takes it for finished. When that
 * fails, nothing of it is left. Call it under a lock.
 *
 * @param target Its final path.
 * @param make Puts the files into the folder that it is given, and says what they are made of.
 * @throws What `make` throws.
 */
export async function makeSealedFolder(
  target: string,
  make: (folder: string) => Promise<Record<string, string>>,
): Promise<void> {
  const folder = `${target}${UNFINISHED}`;
  await Deno.remove(folder, { recursive: true }).catch(() => {});
  await Deno.mkdir(folder, { recursive: true });
  try {
    await sealFolder(folder, target, await make(folder));
  } catch (error) {
    await Deno.remove(folder, { recursive: true }).catch(() => {});
    throw error;
  }
}

/**
 * Checks a sealed folder. A file whose size and time of modification are as recorded counts as unchanged; one whose
 * time differs is read through and must have the recorded SHA-256.
 *
 * @param folder The path that {@link sealFolder} moved it to.
 * @returns Its manifest, or `undefined` when it is missing, incomplete or damaged.
 */
export async function openSealedFolder(folder: string): Promise<Manifest | undefined> {
  try {
    const manifest: Manifest = JSON.parse(await Deno.readTextFile(`${folder}/${MANIFEST}`));
    for (const { name, size, modified, sha256: expected } of manifest.files) {
      const path = `${folder}/${name}`;
      const now = await Deno.stat(path);
      if (now.size !== size) return undefined;
      if (now.mtime?.getTime() === modified) continue;
      if (await sha256(path) !== expected) return undefined;
      await Deno.utime(path, new Date(modified), new Date(modified));
    }
    return manifest;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}

/** Images of each machine: that of this work tree, and one of another. */
const IMAGES_KEPT = 2;

/**
 * Removes what killed builders left, and all of the machine's images but the last used ones, unless somebody holds
 * their lock. The next version of Deno or of the kernel makes another image, and each takes hundreds of megabytes.
 */
export async function pruneImages(images: string, machine: string): Promise<void> {
  const found: { name: string; used: number }[] = [];
  for await (const { name, isDirectory } of Deno.readDir(images)) {
    if (!isDirectory || !name.startsWith(`${machine}-`)) continue;
    const used = (await Deno.stat(`${images}/${name}`)).mtime?.getTime() ?? 0;
    found.push({ name, used: name.endsWith(UNFINISHED) ? 0 : used });
  }
  found.sort((a, b) => b.used - a.used);
  for (const [index, { name, used }] of found.entries()) {
    if (index < IMAGES_KEPT && used > 0) continue;
    using lock = await FileLock.tryExclusive(`${images}/${name.replace(UNFINISHED, "")}.lock`);
    if (lock !== undefined) await Deno.remove(`${images}/${name}`, { recursive: true });
  }
}
