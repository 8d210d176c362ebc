import { join } from "node:path";
import { cacheFolder, type FileIn, type NestedSession } from "../nested/mod.ts";
import { denoFolder } from "./deno_folder.ts";
import { guestEnvironment } from "./guest_environment.ts";
import type { Progress } from "./progress.ts";
import { writeAll } from "./write_all.ts";

/** What a Deno inside is given. */
export interface NestedDenoOptions {
  /** The working directory, the same inside. */
  cwd: string;
  /** Files and folders that it finds inside. */
  filesIn: readonly FileIn[];
  /** Files and folders that come back. */
  filesOut?: readonly string[];
  /** Hears standard output, beside our own. */
  onStdout?: (chunk: Uint8Array) => void;
  /** Is cleared before the first output. */
  progress: Progress;
}

/**
 * Runs `deno` in a nested machine, with its output on our own streams.
 *
 * @param session a machine that waits for its command
 * @param args Deno's arguments
 * @param options files and directory
 * @returns its exit code
 */
export async function nestedDeno(
  session: NestedSession,
  args: readonly string[],
  options: NestedDenoOptions,
): Promise<number> {
  const { cwd, filesIn, filesOut = [], onStdout, progress } = options;
  // Assembled images are kept by content, so those of earlier runs, and of this one, are of use to all.
  const images = join(cacheFolder(), "images");
  const relay = (stream: { writeSync(bytes: Uint8Array): number }) => (chunk: Uint8Array): void => {
    progress.clear();
    writeAll(stream, chunk);
  };
  const showStdout = relay(Deno.stdout);
  const { code } = await session.run(["deno", ...args], {
    cwd,
    env: {
      DENO_DIR: denoFolder(),
      ...guestEnvironment(Deno.env.toObject(), Deno.stdout.isTerminal()),
    },
    filesIn: [...filesIn, { host: images }],
    filesOut: [...filesOut, images],
    onStdout: (chunk) => {
      showStdout(chunk);
      onStdout?.(chunk);
    },
    onStderr: relay(Deno.stderr),
  });
  return code;
}
