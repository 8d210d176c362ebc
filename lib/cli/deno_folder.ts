import { join } from "node:path";

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
