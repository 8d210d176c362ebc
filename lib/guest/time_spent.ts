import { permitted, permittedEnvironment } from "./cache_folder.ts";

/** The folder in which each isolate notes where its time went: what `vmexit test --timing` reads. */
export const TIMING_VARIABLE = "VMEXIT_TIMING";

/** What time is spent on. Assembling within a boot counts as assembling alone. */
export const TIMED = ["assembling", "booting", "running guests", "disposing machines"] as const;

/** One of them. */
export type Timed = typeof TIMED[number];

/** Milliseconds, and how often. */
export type TimeSpent = Record<Timed, { milliseconds: number; count: number }>;

const spent = Object.fromEntries(
  TIMED.map((what) => [what, { milliseconds: 0, count: 0 }]),
) as TimeSpent;

/** What has been spent on something else within what is timed now. */
let within = 0;
let folder: string | undefined;

/** Where it is to be noted; undefined where nobody wants to know. */
function wanted(): string | undefined {
  if (folder !== undefined) return folder || undefined;
  folder = permittedEnvironment(TIMING_VARIABLE) ?? "";
  if (folder !== "") globalThis.addEventListener("unload", note);
  return folder || undefined;
}

function note(): void {
  if (!permitted(folder!, "write")) return;
  Deno.writeTextFileSync(`${folder}/${crypto.randomUUID()}.json`, JSON.stringify(spent));
}

/** Does something, and notes how long that took, where that is wanted. */
export function timed<Result>(what: Timed, body: () => Result): Result {
  if (wanted() === undefined) return body();
  const outer = within;
  within = 0;
  const began = performance.now();
  try {
    return body();
  } finally {
    const took = performance.now() - began;
    spent[what].milliseconds += took - within;
    spent[what].count++;
    within = outer + took;
  }
}
