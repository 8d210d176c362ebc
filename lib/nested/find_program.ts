/** Folders of system tools that are not in the PATH of ordinary users on Debian. */
const SYSTEM_FOLDERS: readonly string[] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/**
 * Finds a program by name in the folders given, then in `PATH`, then where system tools lie.
 *
 * @param name the program's file name, such as `"mke2fs"`
 * @param folders folders to look in first
 * @returns its absolute path, or `undefined` when it is nowhere
 *
 * @example
 * ```ts
 * import { findProgram } from "@vmexit/vmexit/nested";
 *
 * console.log(await findProgram("sh")); // "/usr/bin/sh"
 * ```
 */
export async function findProgram(
  name: string,
  folders: readonly string[] = [],
): Promise<string | undefined> {
  const path = (Deno.env.get("PATH") ?? "").split(":").filter((folder) => folder !== "");
  for (const folder of [...folders, ...path, ...SYSTEM_FOLDERS]) {
    const file = `${folder}/${name}`;
    try {
      const { isFile, mode } = await Deno.stat(file);
      if (isFile && ((mode ?? 0) & 0o111) !== 0) return file;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
    }
  }
  return undefined;
}
