import { Image } from "@vmexit/vmexit";
import { assert } from "@std/assert";
import { fileURLToPath } from "node:url";

const GUESTS = fileURLToPath(new URL("../../guests/", import.meta.url));

/** What C may not use below an operating system, and where guests have their headers. */
// deno-fmt-ignore
const C_ARGUMENTS = ["-c", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-ffreestanding", "-fno-pic", "-mgeneral-regs-only",
  "-mno-red-zone", "-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-I", `${GUESTS}include`];

/** How a guest of several files is built. */
export interface BuildOptions {
  /** The width of its code. */
  bits: 32 | 64;
  /** Its linker script, in its folder; without one it lies where guests start. */
  script?: string;
  /** Names to define for C and NASM. */
  defines?: readonly string[];
  /** Further arguments of the C compiler. */
  args?: readonly string[];
}

/**
 * Builds a guest of C (.c) and NASM (.asm) files of a folder of `guests/`, and opens it: see {@linkcode linkGuest}.
 */
export function buildGuest(
  folder: string,
  sources: readonly string[],
  options: BuildOptions,
): Image {
  return Image.fromFile(linkGuest(folder, sources, options));
}

/**
 * The ELF file of a guest of C (.c) and NASM (.asm) files of a folder of `guests/`.
 *
 * @param folder The folder: `"c_kernel"`.
 * @param sources Its files, in the order in which they are linked.
 */
export function linkGuest(
  folder: string,
  sources: readonly string[],
  options: BuildOptions,
): Uint8Array<ArrayBuffer> {
  const { bits, script, defines = [], args = [] } = options;
  const output = Deno.makeTempDirSync({ prefix: "vmexit-guest-" });
  const cwd = `${GUESTS}${folder}`;
  const run = (command: string, ...args: string[]) => {
    const { success, stderr } = new Deno.Command(command, { args, cwd }).outputSync();
    assert(success, `${command} ${args.join(" ")}:\n${new TextDecoder().decode(stderr)}`);
  };
  const defined = defines.map((name) => `-D${name}`);
  try {
    const objects = sources.map((source) => {
      const object = `${output}/${source}.o`;
      if (source.endsWith(".c")) {
        run("cc", `-m${bits}`, ...C_ARGUMENTS, ...defined, ...args, "-o", object, source);
      } else {
        run(
          "nasm",
          "-f",
          `elf${bits}`,
          "-g",
          ...defined,
          `-I${GUESTS}include/`,
          "-o",
          object,
          source,
        );
      }
      return object;
    });
    const place = script === undefined ? ["-N", "-Ttext=0x10000"] : ["-T", script];
    const emulation = bits === 32 ? "elf_i386" : "elf_x86_64";
    // deno-fmt-ignore
    run("ld", "-m", emulation, "-z", "max-page-size=4096", "--no-warn-rwx-segments", ...place, "-o", `${output}/${folder}.elf`, ...objects);
    return Deno.readFileSync(`${output}/${folder}.elf`);
  } finally {
    Deno.removeSync(output, { recursive: true });
  }
}
