/**
 * Where everything that is fetched or built is kept: `$XDG_CACHE_HOME/vmexit`, or `~/.cache/vmexit`.
 *
 * @returns the absolute path; the folder need not exist yet
 *
 * @example
 * ```ts
 * import { cacheFolder } from "@vmexit/vmexit/nested";
 *
 * console.log(cacheFolder()); // "/home/me/.cache/vmexit"
 * ```
 */
export function cacheFolder(): string {
  const base = Deno.env.get("XDG_CACHE_HOME");
  // The base directory specification says that a relative path there is to be ignored.
  if (base !== undefined && base.startsWith("/")) return `${base}/vmexit`;
  return `${Deno.env.get("HOME") ?? "/root"}/.cache/vmexit`;
}
