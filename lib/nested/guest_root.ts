import type { BootParts } from "./boot_parts.ts";
import type { CpioEntry } from "./cpio.ts";
import { KEEP_PROGRAM, WAKE_PROGRAM } from "./guest_programs.ts";
import { initScript, ROOT_FOLDERS } from "./init_script.ts";
import type { Nasm } from "./nasm.ts";
import { assemble } from "./assemble.ts";
import type { MachineInside } from "./nested_machine.ts";
import { sharedLibraries } from "./host_program.ts";

const ETC: Readonly<Record<string, string>> = {
  passwd: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
  group: "root:x:0:\nnogroup:x:65534:\n",
  hosts: "127.0.0.1 localhost\n::1 localhost\n",
  hostname: "vmexit\n",
  "resolv.conf": "",
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
};

/** Programs that every machine has. */
const PROGRAMS: Readonly<Record<string, string>> = { keep: KEEP_PROGRAM, wake: WAKE_PROGRAM };

/**
 * The files of a nested machine's root: busybox, Deno, NASM, the libraries they need, the kernel's modules and `/init`.
 *
 * @param parts Kernel modules and busybox.
 * @param nasm The host's NASM.
 * @param inside What is different in this machine.
 * @returns Entries for an initramfs, directories first.
 */
export async function guestRoot(
  parts: BootParts,
  nasm: Nasm,
  inside: MachineInside,
): Promise<CpioEntry[]> {
  const encoder = new TextEncoder();
  const deno = await Deno.realPath(Deno.execPath());
  const programs: Record<string, string> = {
    "usr/bin/deno": deno,
    "usr/bin/nasm": `${nasm.folder}/nasm`,
    "usr/bin/ndisasm": `${nasm.folder}/ndisasm`,
  };
  const libraries = new Set<string>();
  for (const program of Object.values(programs)) {
    for (const library of await sharedLibraries(program)) libraries.add(library);
  }
  const files: CpioEntry[] = [];
  for (const [path, source] of Object.entries(programs)) {
    files.push({ path, content: await Deno.readFile(source) });
  }
  for (const library of libraries) {
    files.push({ path: library.slice(1), content: await Deno.readFile(library) });
  }
  for (const [index, module] of parts.modules.entries()) {
    const number = String(index).padStart(2, "0");
    files.push({ path: `modules/${number}.ko`, content: await Deno.readFile(module) });
  }
  for (const [name, text] of Object.entries(ETC)) {
    files.push({ path: `etc/${name}`, content: encoder.encode(text), permissions: 0o644 });
  }
  files.push({ path: "bin/busybox", content: await Deno.readFile(parts.busybox) });
  for (const [name, source] of Object.entries({ ...PROGRAMS, ...inside.programs })) {
    const content = await assemble(`${nasm.folder}/nasm`, name, source);
    files.push({ path: `usr/bin/${name}`, content });
  }
  files.push({ path: "init", content: encoder.encode(initScript(inside)) });
  // Deno refers to itself by the path it was started from.
  const folders = new Set(ROOT_FOLDERS);
  for (const { path } of files) {
    const names = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= names.length; depth++) {
      folders.add(names.slice(0, depth).join("/"));
    }
  }
  return [...[...folders].sort().map((path) => ({ path })), ...files];
}
