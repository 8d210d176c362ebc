import { FileLock } from "./file_lock.ts";
import { UNFINISHED } from "./sealed_folder.ts";

/** Images of each machine: that of this work tree, and one of another. */
const IMAGES_KEPT = 2;

/**
 * Removes what killed builders left, and all of the machine's images but the last used ones, unless somebody holds their lock. The next
 * version of Deno or of the kernel makes another image, and each takes hundreds of megabytes.
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
