import { assert } from "@std/assert";

/** How a guest is linked. */
export interface LinkOptions {
  /** What NASM makes: the class of the file. */
  format: "elf32" | "elf64";
  /** A linker script. */
  script?: string;
  /** Further arguments of the linker. */
  args?: readonly string[];
}

function run(command: string, ...args: string[]): void {
  const { success, stderr } = new Deno.Command(command, { args }).outputSync();
  assert(success, `${command}: ${new TextDecoder().decode(stderr)}`);
}

/** Runs `body` with a folder that lasts as long. */
export function inFolder<Result>(body: (folder: string) => Result): Result {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-link-" });
  try {
    return body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** An ELF file of NASM source, by the linker that comes with the C compiler. */
export function linked(
  source: string,
  { format, script, args = [] }: LinkOptions,
): Uint8Array<ArrayBuffer> {
  return inFolder((folder) => {
    const [assembly, object, elf] = ["k.asm", "k.o", "k.elf"].map((name) => `${folder}/${name}`);
    Deno.writeTextFileSync(assembly, source);
    run("nasm", "-f", format, "-o", object, assembly);
    link(object, elf, format, script, args);
    return Deno.readFileSync(elf);
  });
}

/** What NASM makes of source without a linker. */
export function flat(source: string): Uint8Array<ArrayBuffer> {
  return inFolder((folder) => {
    const [assembly, binary] = ["k.asm", "k.bin"].map((name) => `${folder}/${name}`);
    Deno.writeTextFileSync(assembly, source);
    run("nasm", "-f", "bin", "-o", binary, assembly);
    return Deno.readFileSync(binary);
  });
}

/** An ELF file of C, without a library. */
export function compiled(source: string, script: string): Uint8Array<ArrayBuffer> {
  return inFolder((folder) => {
    const [c, object, elf] = ["k.c", "k.o", "k.elf"].map((name) => `${folder}/${name}`);
    Deno.writeTextFileSync(c, source);
    // deno-fmt-ignore
    run("cc", "-m32", "-c", "-O1", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-mno-sse", "-o", object, c);
    link(object, elf, "elf32", script, []);
    return Deno.readFileSync(elf);
  });
}

function link(
  object: string,
  elf: string,
  format: "elf32" | "elf64",
  script: string | undefined,
  args: readonly string[],
): void {
  const emulation = format === "elf32" ? "elf_i386" : "elf_x86_64";
  const file = `${object}.ld`;
  if (script !== undefined) Deno.writeTextFileSync(file, script);
  run(
    "ld",
    "-m",
    emulation,
    "--no-warn-rwx-segments",
    ...script === undefined ? [] : ["-T", file],
    ...args,
    "-o",
    elf,
    object,
  );
}

/** Kernels as they are linked most often: at 1 MiB, the header first. */
export const AT_1_MIB = `
ENTRY(_start)
PHDRS { all PT_LOAD; notes PT_NOTE; }
SECTIONS {
  . = 0x100000;
  .text : { *(.header) *(.text*) *(.rodata*) } :all
  .note.Xen : { *(.note.Xen) } :all :notes
  .data : { *(.data*) } :all
  .bss : { *(.bss*) *(COMMON) } :all
  /DISCARD/ : { *(.comment) *(.eh_frame) *(.note*) }
}
`;
