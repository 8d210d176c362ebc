import { capture } from "./capture.ts";
import { findProgram } from "./find_program.ts";

/**
 * The shared libraries that a program is linked with, and its dynamic loader, as `ldd` lists them.
 *
 * @param program its path
 * @returns absolute paths; empty for a static program
 */
export async function sharedLibraries(program: string): Promise<string[]> {
  const ldd = await findProgram("ldd");
  if (ldd === undefined) return [];
  const { stdout } = await capture(ldd, [program]);
  return [...stdout.matchAll(/(?:^|\s)(\/\S+)(?= \(0x)/gm)].map((match) => match[1]);
}
