/** How {@link runDeno} runs. */
export interface RunDenoOptions {
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
 * @param args its arguments
 * @param options where, with what, and what ends it
 * @returns its exit code
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
