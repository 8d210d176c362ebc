/**
 * The folder for what vmexit keeps between runs: `$XDG_CACHE_HOME/vmexit`, else `~/.cache/vmexit`. It is not
 * made here. Undefined where the environment says nothing, or may not be read: nobody is asked for it.
 */
export function cacheFolder(): string | undefined {
  const cache = permittedEnvironment("XDG_CACHE_HOME");
  // The XDG specification has relative paths ignored.
  if (cache?.startsWith("/")) return `${cache}/vmexit`;
  const home = permittedEnvironment("HOME");
  return home ? `${home}/.cache/vmexit` : undefined;
}

/** An environment variable, or undefined where it is not set, empty, or not permitted without asking. */
export function permittedEnvironment(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) || undefined : undefined;
}

/** Whether a file or folder may be read, and with `"write"` written, without asking. */
export function permitted(path: string, access: "read" | "write"): boolean {
  return Deno.permissions.querySync({ name: access, path }).state === "granted";
}

/** Whether a program may be run without asking. */
export function mayRun(command: string): boolean {
  return Deno.permissions.querySync({ name: "run", command }).state === "granted";
}
