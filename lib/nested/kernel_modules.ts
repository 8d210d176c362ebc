import { basename } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { NestedError } from "./nested_error.ts";

const MODULE_FILE = /\.ko(\.xz|\.zst|\.gz)?$/;

/** A kernel module's name from its file name: the kernel knows `kvm-amd.ko.xz` as `kvm_amd`. */
export function moduleName(file: string): string {
  return basename(file).replace(MODULE_FILE, "").replaceAll("-", "_");
}

/**
 * The names of the modules that a module needs, from the `depends=` entry of its `.modinfo` section.
 *
 * @param module The uncompressed module.
 * @returns Names, with underscores.
 */
export function moduleDependencies(module: Uint8Array): string[] {
  const text = new TextDecoder("latin1").decode(module);
  const entry = /(?:^|\0)depends=([^\0]*)\0/.exec(text)?.[1] ?? "";
  return entry.split(",").filter((name) => name !== "").map((name) => name.replaceAll("-", "_"));
}

/**
 * Uncompresses a module by the ending of its file name. `xz` is asked for `.xz`, which neither the web nor Node
 * unpacks.
 */
async function uncompress(
  file: string,
  xz: (bytes: Uint8Array) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const bytes = await Deno.readFile(file);
  if (file.endsWith(".xz")) return await xz(bytes);
  if (file.endsWith(".zst")) return new Uint8Array(zstdDecompressSync(bytes));
  if (file.endsWith(".gz")) return new Uint8Array(gunzipSync(bytes));
  return bytes;
}

async function moduleFiles(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) {
      for (const [name, file] of await moduleFiles(path)) found.set(name, file);
    } else if (MODULE_FILE.test(entry.name)) found.set(moduleName(entry.name), path);
  }
  return found;
}

/** One module, ready to be loaded. */
export interface KernelModule {
  /** Its name, with underscores. */
  name: string;
  /** The uncompressed ELF file. */
  bytes: Uint8Array;
}

/**
 * The modules wanted and all that they depend on, in an order in which they can be loaded. Those built into the kernel
 * are left out.
 *
 * @param folder `lib/modules/VERSION` of the kernel's package.
 * @param wanted Names of modules.
 * @param xz Uncompresses `.xz`.
 * @throws {NestedError} When a module is neither in the folder nor built in.
 */
export async function resolveModules(
  folder: string,
  wanted: readonly string[],
  xz: (bytes: Uint8Array) => Promise<Uint8Array>,
): Promise<KernelModule[]> {
  const files = await moduleFiles(folder);
  const builtin = new Set(
    (await Deno.readTextFile(`${folder}/modules.builtin`)).split("\n").map(moduleName),
  );
  const ordered: KernelModule[] = [];
  const seen = new Set<string>();
  const visit = async (name: string): Promise<void> => {
    if (seen.has(name) || builtin.has(name)) return;
    seen.add(name);
    const file = files.get(name);
    if (file === undefined) {
      throw new NestedError(`The kernel in ${folder} has no module ${name}: use another kernel`);
    }
    const bytes = await uncompress(file, xz);
    for (const dependency of moduleDependencies(bytes)) await visit(dependency);
    ordered.push({ name, bytes });
  };
  for (const name of wanted) await visit(name);
  return ordered;
}
