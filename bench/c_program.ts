import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../lib/nested/cache_folder.ts";

const COMPILER = "cc";

/** Static, so that it also runs in a nested machine, which has no C library. */
const COMPILER_ARGUMENTS = ["-O2", "-Wall", "-Wextra", "-static"] as const;

/** What programs of a folder may share: another text of it is another program. */
const HEADER = "baseline.h";

/** As much of the SHA-256 as tells the versions of one program apart. */
const KEY_DIGITS = 16;

/**
 * Compiles a C program, unless that was done before: the file is kept by its content.
 *
 * @param source Where the C file is: `new URL("baseline/life.c", import.meta.url)`.
 * @param folder Where the program is kept; by default the folder of everything that vmexit keeps.
 * @returns The absolute path of the program.
 * @throws {Error} When there is no C compiler, or it refuses the program.
 */
export function cProgram(source: URL, folder: string = join(cacheFolder(), "bench")): string {
  const texts = [source, new URL(HEADER, source)].filter(exists).map((file) =>
    Deno.readTextFileSync(file)
  );
  const key = createHash("sha256").update([COMPILER, ...COMPILER_ARGUMENTS, ...texts].join("\0"));
  const name = basename(source.pathname, ".c");
  const program = join(folder, `${name}-${key.digest("hex").slice(0, KEY_DIGITS)}`);
  if (exists(program)) return program;

  Deno.mkdirSync(folder, { recursive: true });
  const unfinished = Deno.makeTempFileSync({ dir: folder, prefix: `${name}-` });
  try {
    compile(source, unfinished);
    Deno.chmodSync(unfinished, 0o755);
    Deno.renameSync(unfinished, program);
  } catch (error) {
    Deno.removeSync(unfinished);
    throw error;
  }
  return program;
}

function exists(path: string | URL): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function compile(source: URL, output: string): void {
  const file = fileURLToPath(source);
  const args = [...COMPILER_ARGUMENTS, "-o", output, file];
  let result: Deno.CommandOutput;
  try {
    result = new Deno.Command(COMPILER, { args }).outputSync();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `Cannot compile ${file}: there is no ${COMPILER}. On Debian and Ubuntu: apt-get install gcc libc6-dev`,
      { cause: error },
    );
  }
  if (!result.success) {
    throw new Error(`Cannot compile ${file}:\n${new TextDecoder().decode(result.stderr)}`);
  }
}
