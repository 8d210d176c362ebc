/** What a program on the host printed, and how it ended. */
export interface Captured {
  /** The exit code. */
  code: number;
  /** Its standard output as text. */
  stdout: string;
  /** Its standard error as text. */
  stderr: string;
}

/** How {@link capture} starts the program. */
interface CaptureOptions {
  /** The working directory. */
  cwd?: string;
  /** Environment variables beside the inherited ones. */
  env?: Record<string, string>;
  /** Ends the program when it is aborted. */
  signal?: AbortSignal;
}

/**
 * Runs a program of the host to its end and collects what it prints, in the C locale.
 *
 * @param program Its path.
 * @param args Its arguments.
 * @param options Directory, environment and abort signal.
 * @returns Exit code and output.
 * @throws What `Deno.Command` throws when the program cannot be started; the signal's reason when it was aborted.
 */
export async function capture(
  program: string,
  args: readonly string[],
  options: CaptureOptions = {},
): Promise<Captured> {
  const output = await new Deno.Command(program, {
    args: [...args],
    cwd: options.cwd,
    env: { LC_ALL: "C", ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: options.signal,
  }).output();
  options.signal?.throwIfAborted();
  const decoder = new TextDecoder();
  return {
    code: output.code,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/** Folders of system tools that are not in the PATH of ordinary users on Debian. */
const SYSTEM_FOLDERS: readonly string[] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/**
 * Finds a program by name in the folders given, then in `PATH`, then where system tools lie.
 *
 * @param name The program's file name, such as `"mke2fs"`.
 * @param folders Folders to look in first.
 * @returns Its absolute path, or `undefined` when it is nowhere.
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

/**
 * The shared libraries that a program is linked with, and its dynamic loader, as `ldd` lists them.
 *
 * @param program Its path.
 * @returns Absolute paths; empty for a static program.
 */
export async function sharedLibraries(program: string): Promise<string[]> {
  const ldd = await findProgram("ldd");
  if (ldd === undefined) return [];
  const { stdout } = await capture(ldd, [program]);
  return [...stdout.matchAll(/(?:^|\s)(\/\S+)(?= \(0x)/gm)].map((match) => match[1]);
}
