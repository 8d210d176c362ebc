import { posix } from "node:path";

/**
 * What each folder of `lib/` may import: folders, or single files.
 * A folder may always import itself. One that is not listed here is a new room: give it its line first.
 */
const mayImport: Record<string, readonly string[]> = {
  ffi: [],
  x86: ["ffi/struct.ts"],
  kvm: ["ffi"],
  guest: ["ffi", "x86"],
  devices: ["x86"],
  machine: ["ffi", "kvm", "x86", "guest", "devices"],
  expect: ["ffi", "kvm", "x86", "guest", "devices", "machine"],
  fuzz: ["ffi", "kvm", "x86", "guest", "devices", "machine"],
  nested: ["ffi/process_calls.ts", "kvm/remote"],
  bench: ["ffi", "kvm", "x86", "guest", "devices", "machine", "expect"],
  cli: ["*"],
};

/**
 * What each room of a folder may import of the others. A file that lies in the folder itself is a room, too. A folder
 * that is not listed here has no rooms; a room that is not listed is new: give it its line first. No line may be such
 * that rooms import each other in a circle (`circles_test.ts`).
 */
export const rooms: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  "lib/x86": {
    "defined_entries.ts": ["nearest_names.ts"],
    "hex.ts": [],
    "layout.ts": [],
    "nearest_names.ts": [],
    "placement.ts": ["hex.ts"],
    "split_mix.ts": [],
    apic: ["hex.ts", "layout.ts"],
    cpuid: ["hex.ts", "nearest_names.ts"],
    msrs: ["hex.ts", "nearest_names.ts"],
    registers: ["hex.ts", "nearest_names.ts"],
    paging: ["hex.ts", "placement.ts", "registers"],
    exceptions: ["hex.ts", "nearest_names.ts", "registers", "paging"],
    boot: ["hex.ts", "layout.ts", "placement.ts", "msrs", "registers", "paging", "exceptions"],
    entry_checks: ["hex.ts", "registers", "paging", "boot"],
    diagnosis: ["hex.ts", "msrs", "cpuid", "registers", "paging", "exceptions", "boot"],
    virtualization: ["hex.ts", "layout.ts", "placement.ts", "msrs", "paging"],
    svm: ["hex.ts", "nearest_names.ts", "registers", "paging", "boot", "virtualization"],
    vmx: [
      "hex.ts",
      "nearest_names.ts",
      "placement.ts",
      "registers",
      "paging",
      "boot",
      "virtualization",
    ],
  },
  "lib/guest": {
    "address.ts": [],
    "asm.ts": ["asm_source.ts", "cache_folder.ts", "call_site.ts", "diagnostic.ts"],
    "asm_source.ts": ["assemble.ts", "call_site.ts", "image.ts"],
    "assemble.ts": [
      "address.ts",
      "diagnostic.ts",
      "image.ts",
      "image_cache.ts",
      "image_init.ts",
      "nasm.ts",
      "time_spent.ts",
      "tool.ts",
    ],
    "boot_protocol.ts": [],
    "cache_folder.ts": [],
    "call_site.ts": ["cache_folder.ts"],
    "code_lines.ts": ["disassemble.ts", "image.ts", "image_init.ts", "mnemonics.ts"],
    debug: ["cache_folder.ts", "elf_file.ts", "image_init.ts", "tool.ts"],
    "diagnostic.ts": ["cache_folder.ts"],
    "disassemble.ts": ["call_site.ts", "tool.ts"],
    "elf.ts": [
      "address.ts",
      "debug",
      "elf_file.ts",
      "elf_relocation.ts",
      "image_init.ts",
      "moved_image.ts",
    ],
    "elf_file.ts": [],
    "elf_relocation.ts": ["address.ts", "elf_file.ts", "image_init.ts", "moved_image.ts"],
    "flat_image.ts": ["address.ts", "image_init.ts"],
    "image.ts": [
      "address.ts",
      "boot_protocol.ts",
      "call_site.ts",
      "debug",
      "diagnostic.ts",
      "elf.ts",
      "flat_image.ts",
      "image_init.ts",
      "image_parts.ts",
      "loaders",
      "moved_image.ts",
      "source_places.ts",
    ],
    "image_cache.ts": ["cache_folder.ts", "image_init.ts", "nasm.ts"],
    "image_init.ts": ["boot_protocol.ts", "diagnostic.ts"],
    "image_parts.ts": ["address.ts", "image_init.ts"],
    "listing.ts": ["image_init.ts"],
    loaders: ["boot_protocol.ts", "elf.ts", "elf_file.ts", "image_init.ts"],
    "mnemonics.ts": [],
    "moved_image.ts": ["image_init.ts"],
    "nasm.ts": ["diagnostic.ts", "image_init.ts", "listing.ts", "tool.ts"],
    "source_places.ts": ["image_init.ts"],
    "time_spent.ts": ["cache_folder.ts"],
    "tool.ts": ["cache_folder.ts"],
    "write_whole.ts": [],
  },
  "lib/machine": {
    registers: [],
    host: [],
    cpuid: [],
    exits: [],
    memory: ["registers", "exits"],
    interrupts: ["registers"],
    msrs: ["registers", "exits"],
    faults: ["registers", "memory"],
    buses: ["interrupts"],
    report: ["registers", "host", "exits", "memory", "interrupts", "faults"],
    run: ["registers", "host", "exits", "interrupts", "faults", "buses", "report"],
    coverage: ["registers", "host", "memory", "run"],
    viewer: ["registers", "host", "memory", "report", "run"],
    gdb: ["registers", "host", "exits", "memory", "report", "run", "postmortem"],
    "cpu.ts": [
      "registers",
      "cpuid",
      "exits",
      "memory",
      "interrupts",
      "msrs",
      "faults",
      "report",
      "run",
    ],
    "reset.ts": ["msrs", "snapshot", "cpu.ts"],
    snapshot: ["registers", "exits", "memory", "interrupts", "msrs", "faults", "buses", "run"],
    "board_init.ts": ["interrupts", "memory", "run", "cpu.ts"],
    "board.ts": [
      "board_init.ts",
      "exits",
      "memory",
      "interrupts",
      "msrs",
      "faults",
      "buses",
      "run",
      "snapshot",
      "coverage",
      "viewer",
      "cpu.ts",
      "reset.ts",
    ],
    "machine_cpu.ts": [
      "registers",
      "cpuid",
      "exits",
      "memory",
      "interrupts",
      "msrs",
      "faults",
      "buses",
      "run",
      "cpu.ts",
      "board.ts",
    ],
    "machine.ts": [
      "exits",
      "interrupts",
      "buses",
      "run",
      "snapshot",
      "coverage",
      "viewer",
      "gdb",
      "cpu.ts",
      "board.ts",
      "machine_cpu.ts",
      "postmortem",
    ],
    "template.ts": ["snapshot", "run", "machine.ts"],
    postmortem: [
      "registers",
      "host",
      "exits",
      "memory",
      "faults",
      "report",
      "run",
      "cpu.ts",
      "board.ts",
    ],
    boot: [
      "registers",
      "host",
      "cpuid",
      "memory",
      "interrupts",
      "msrs",
      "report",
      "run",
      "snapshot",
      "coverage",
      "viewer",
      "cpu.ts",
      "board_init.ts",
      "board.ts",
      "machine.ts",
      "postmortem",
    ],
  },
};

/** The folders that stand on top: nothing else of the library imports them. */
const onTop = ["lib/nested", "lib/bench", "lib/cli"];

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
 */
export function forbiddenImport(importer: string, specifier: string): string | undefined {
  const folder = libFolder(importer);
  if (folder === undefined && importer !== "mod.ts") {
    // What the demo boots is written like a test, and is published with the guests.
    const isCode = /^(tests|bench|guests\/demo)\//.test(importer);
    return isCode ? undefined : `${importer} is outside the folders that hold code`;
  }
  if (!/^\.{0,2}\//.test(specifier)) return forbiddenPackage(folder, specifier);

  const target = posix.normalize(posix.join(posix.dirname(importer), specifier));
  const allowed = folder === undefined ? ["*"] : mayImport[folder];
  if (allowed === undefined) return `lib/${folder} has no line in the table of layers`;
  if (target.startsWith(`lib/${folder}/`)) return forbiddenRoom(`lib/${folder}`, importer, target);
  if (/^(bench|tests)\//.test(target)) return `${target} is not published`;
  if (allowed.includes("*") && folder !== undefined) return undefined;
  const top = onTop.find((name) => target.startsWith(`${name}/`));
  if (top !== undefined) return `${top} stands on top and is imported by nobody`;
  if (!target.startsWith("lib/")) return `${target} is not part of lib`;
  if (allowed.includes("*")) return undefined;

  const file = target.slice("lib/".length);
  if (allowed.some((each) => file === each || file.startsWith(`${each}/`))) return undefined;
  const list = allowed.length === 0 ? "nothing of lib" : allowed.join(", ");
  return `lib/${folder} may not import lib/${file}: it may import ${list}`;
}

function forbiddenRoom(folder: string, importer: string, target: string): string | undefined {
  const from = roomOf(folder, importer);
  const to = roomOf(folder, target);
  if (rooms[folder] === undefined || from === undefined || from === to) return undefined;
  if (to === undefined) return `${target} only re-exports what lies in its folder`;
  const allowed = rooms[folder][from];
  if (allowed === undefined) return `${folder}/${from} has no line in the table of rooms`;
  if (allowed.includes(to)) return undefined;
  const list = allowed.length === 0 ? "no other room" : allowed.join(", ");
  return `${folder}/${from} may not import ${folder}/${to}: it may import ${list}`;
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

/**
 * The room of `folder` that a file is in: the name of the folder within it, or, for a file that lies in `folder` itself,
 * the file's. A `mod.ts`, which only re-exports, is in none.
 */
export function roomOf(folder: string, path: string): string | undefined {
  if (!path.startsWith(`${folder}/`)) return undefined;
  const [room] = path.slice(folder.length + 1).split("/");
  return room === "mod.ts" ? undefined : room;
}
