/** What the names of files end with that are not finished. */
export const UNFINISHED_ENDING = ".new";

/**
 * Writes a file beside its place first, and moves it there: a disk that is full leaves no half of one, and what was there
 * before stays.
 *
 * @throws What Deno throws where it cannot be written.
 */
export function writeWhole(path: string, content: Uint8Array | string): void {
  const unfinished = `${path}.${Deno.pid}${UNFINISHED_ENDING}`;
  try {
    if (typeof content === "string") Deno.writeTextFileSync(unfinished, content);
    else Deno.writeFileSync(unfinished, content);
    Deno.renameSync(unfinished, path);
  } catch (error) {
    try {
      Deno.removeSync(unfinished);
    } catch {
      // It is what could not be made.
    }
    throw error;
  }
}
