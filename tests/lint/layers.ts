import { posix } from "node:path";

/**
 * What each folder of `lib/` may import: folders, single files, or `type:` and a file of which only the types may come.
 * A folder may always import itself. One that is not listed here is a new room: give it its line first.
 */
const mayImport: Record<string, readonly string[]> = {
  ffi: [],
  x86: ["ffi/struct.ts"],
  kvm: ["ffi"],
  guest: ["ffi", "x86"],
  devices: ["type:machine/buses/bus.ts"],
  machine: ["ffi", "kvm", "x86", "guest", "devices"],
  expect: ["ffi", "kvm", "x86", "guest", "devices", "machine"],
  nested: ["ffi/process_calls.ts", "kvm/remote"],
  cli: ["*"],
};

/** The folders that stand on top: nothing else of the library imports them. */
const onTop = ["lib/nested", "lib/cli"];

/** Folders whose code is bytes and numbers: not even Node's built-in modules. */
const pure = ["x86"];

const root = posix.resolve(import.meta.dirname!, "../..");

/** The path of a file of this repository from its root: `"lib/x86/layout.ts"`. */
export function pathFromRoot(filename: string): string {
  return posix.relative(root, posix.resolve(root, filename));
}

/** The folder of `lib/` that a path from the root is in, or nothing. */
export function libFolder(path: string): string | undefined {
  return /^lib\/([^/]+)\//.exec(path)?.[1];
}

/**
 * Why the file `importer` may not import `specifier`, or nothing if it may.
 *
 * @param importer The importing file's path from the root of the repository.
 * @param typesOnly Whether the import is gone once the types are.
 */
export function forbiddenImport(
  importer: string,
  specifier: string,
  typesOnly: boolean,
): string | undefined {
  const folder = libFolder(importer);
  if (folder === undefined && importer !== "mod.ts") {
    const isTestOrBench = /^(tests|bench)\//.test(importer);
    return isTestOrBench ? undefined : `${importer} is outside the folders that hold code`;
  }
  if (!/^\.{0,2}\//.test(specifier)) return forbiddenPackage(folder, specifier);

  const target = posix.normalize(posix.join(posix.dirname(importer), specifier));
  const allowed = folder === undefined ? ["*"] : mayImport[folder];
  if (allowed === undefined) return `lib/${folder} has no line in the table of layers`;
  const inside = `lib/${folder}/`;
  if (target.startsWith(inside)) return undefined;
  if (/^(bench|tests)\//.test(target)) return `${target} is not published`;
  if (allowed.includes("*") && folder !== undefined) return undefined;
  const top = onTop.find((name) => target.startsWith(`${name}/`));
  if (top !== undefined) return `${top} stands on top and is imported by nobody`;
  if (!target.startsWith("lib/")) return `${target} is not part of lib`;
  if (allowed.includes("*")) return undefined;

  const file = target.slice("lib/".length);
  if (allowed.some((each) => file === each || file.startsWith(`${each}/`))) return undefined;
  if (allowed.includes(`type:${file}`)) {
    return typesOnly ? undefined : `lib/${folder} may import only the types of lib/${file}`;
  }
  const list = allowed.length === 0 ? "nothing of lib" : allowed.join(", ");
  return `lib/${folder} may not import lib/${file}: it may import ${list}`;
}

function forbiddenPackage(folder: string | undefined, specifier: string): string | undefined {
  if (/^@vmexit\//.test(specifier)) {
    return "the library does not import itself by its public name: that goes round the layers";
  }
  if (/^@std\/assert/.test(specifier)) return "@std/assert is for the tests";
  if (folder === undefined) return "mod.ts re-exports lib and nothing else";
  if (pure.includes(folder)) return `lib/${folder} is pure: it imports no packages`;
  if (folder === "nested" && !/^(node:|@std\/)/.test(specifier)) {
    return "lib/nested imports std and Node's built-in modules only";
  }
  return undefined;
}
