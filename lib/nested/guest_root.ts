import type { BootParts } from "./boot_parts.ts";
import { capture } from "./capture.ts";
import type { CpioEntry } from "./cpio.ts";
import { KEEP_PROGRAM } from "./keep_program.ts";
import { INIT_SCRIPT, ROOT_FOLDERS } from "./init_script.ts";
import type { Nasm } from "./nasm.ts";
import { NestedError } from "./nested_error.ts";
import { sharedLibraries } from "./shared_libraries.ts";
import { WAKE_PROGRAM } from "./wake_program.ts";

const ETC: Readonly<Record<string, string>> = {
  passwd: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
  group: "root:x:0:\nnogroup:x:65534:\n",
  hosts: "127.0.0.1 localhost\n::1 localhost\n",
  hostname: "vmexit\n",
  "resolv.conf": "",
  "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
};

async function assemble(nasm: Nasm, name: string, source: string): Promise<Uint8Array> {
  const folder = await Deno.makeTempDir({ prefix: `vmexit-${name}-` });
  try {
    await Deno.writeTextFile(`${folder}/${name}.asm`, source);
    const args = ["-f", "bin", "-o", `${folder}/${name}`, `${folder}/${name}.asm`];
    const { code, stderr } = await capture(`${nasm.folder}/nasm`, args);
    if (code !== 0) throw new NestedError(`NASM cannot assemble the ${name} program: ${stderr}`);
    return await Deno.readFile(`${folder}/${name}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * The files of a nested machine's root: busybox, Deno, NASM, the libraries they need, the kernel's modules and `/init`.
 *
 * @param parts kernel modules and busybox
 * @param nasm the host's NASM
 * @returns entries for an initramfs, directories first
 */
export async function guestRoot(parts: BootParts, nasm: Nasm): Promise<CpioEntry[]> {
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
  files.push({ path: "usr/bin/wake", content: await assemble(nasm, "wake", WAKE_PROGRAM) });
  files.push({ path: "usr/bin/keep", content: await assemble(nasm, "keep", KEEP_PROGRAM) });
  files.push({ path: "init", content: encoder.encode(INIT_SCRIPT) });
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
