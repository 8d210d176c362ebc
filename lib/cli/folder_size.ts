const BLOCK = 512;

/** The bytes that the files below a folder take on the disk; 0 when it does not exist. Sparse files count as they are stored. */
export async function folderSize(folder: string): Promise<number> {
  let size = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory) size += await folderSize(path);
      else size += ((await Deno.lstat(path)).blocks ?? 0) * BLOCK;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return size;
}
