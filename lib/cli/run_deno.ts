import { join } from "node:path";

/** How a Deno is run. */
interface RunDenoOptions {
  /** The working directory. */
  cwd: string;
  /** Environment variables beside the inherited ones. */
  env?: Record<string, string>;
  /** Ends it. */
  signal?: AbortSignal;
}

/**
 * Runs the Deno that runs us, with our standard streams.
 *
 * @param args Its arguments.
 * @param options Where, with what, and what ends it.
 * @returns Its exit code.
 */
export async function runDeno(args: readonly string[], options: RunDenoOptions): Promise<number> {
  const { cwd, env, signal } = options;
  signal?.throwIfAborted();
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
    signal,
  }).spawn();
  const { code } = await child.status;
  signal?.throwIfAborted();
  return code;
}

/** What `deno` printed and how it ended. */
interface DenoOutput {
  /** The exit code. */
  code: number;
  /** Standard output as text. */
  stdout: string;
  /** Standard error as bytes, to be shown as they are. */
  stderr: Uint8Array;
}

/**
 * Runs the Deno that runs us, to its end.
 *
 * @param args Its arguments.
 * @param options Where, with what, and what ends it.
 */
export async function captureDeno(
  args: readonly string[],
  options: RunDenoOptions,
): Promise<DenoOutput> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: options.cwd,
    env: options.env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: options.signal,
  }).output();
  options.signal?.throwIfAborted();
  return { code, stdout: new TextDecoder().decode(stdout), stderr };
}

/** Where Deno keeps what it fetched and transpiled: `$DENO_DIR`, or `deno` in the user's cache folder. */
export function denoFolder(): string {
  const told = Deno.env.get("DENO_DIR");
  if (told !== undefined && told !== "") {
    return told.startsWith("/") ? told : join(Deno.cwd(), told);
  }
  const cache = Deno.env.get("XDG_CACHE_HOME");
  if (cache?.startsWith("/")) return join(cache, "deno");
  return join(Deno.env.get("HOME") ?? "/root", ".cache/deno");
}

/** Writes all of the bytes to one of our own streams before it returns, so that nothing is lost when we exit. */
export function writeAll(
  stream: { writeSync(bytes: Uint8Array): number },
  bytes: Uint8Array,
): void {
  for (let written = 0; written < bytes.length;) {
    written += stream.writeSync(bytes.subarray(written));
  }
}
