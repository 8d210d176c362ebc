/** What `deno` printed and how it ended. */
export interface DenoOutput {
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
 * @param args its arguments
 * @param options the working directory, and what ends it
 */
export async function captureDeno(
  args: readonly string[],
  options: { cwd: string; signal?: AbortSignal },
): Promise<DenoOutput> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: options.cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: options.signal,
  }).output();
  options.signal?.throwIfAborted();
  return { code, stdout: new TextDecoder().decode(stdout), stderr };
}
