import { assert } from "@std/assert";

const FOLDER = `${import.meta.dirname}/kernels`;

/** A kernel for a test, in a language whose compiler may not be there. */
export interface KernelSource {
  readonly file: "kernel.c" | "kernel.cpp" | "kernel.rs" | "kernel.zig";
  readonly compiler: "gcc" | "g++" | "rustc" | "zig";
}

/** Those of `kernels/`. */
export const KERNELS: readonly KernelSource[] = [
  { file: "kernel.c", compiler: "gcc" },
  { file: "kernel.cpp", compiler: "g++" },
  { file: "kernel.rs", compiler: "rustc" },
  { file: "kernel.zig", compiler: "zig" },
];

/** The options of a test that needs programs: it is skipped by name where one of them is not there. */
export function needs(
  programs: string | readonly string[],
  name: string,
): { name: string; ignore: boolean } {
  const missing = [programs].flat().find((program) => !isThere(program));
  return {
    name: missing ? `${name} (there is no ${missing})` : name,
    ignore: missing !== undefined,
  };
}

function isThere(program: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

/** Runs a program that must succeed, and gives what it has printed. */
export function run(command: string, ...args: string[]): string {
  const { success, stdout, stderr } = new Deno.Command(command, { args }).outputSync();
  const decoder = new TextDecoder();
  assert(success, `${command} ${args.join(" ")}: ${decoder.decode(stderr)}`);
  return decoder.decode(stdout);
}

/** A folder that is removed at the end. */
export class TestFolder implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "vmexit debug" });

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** What GCC makes freestanding programs for the kernel's address with. */
export const FREESTANDING: readonly string[] = [
  ...["-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-pie", "-fno-stack-protector"],
  ...["-mno-sse", "-Wl,-Ttext=0x100000", "-Wl,--build-id=none"],
];

/**
 * Builds a kernel.
 *
 * @param options Of the compiler, behind its usual ones.
 * @returns The path of the ELF file.
 */
export function build(
  { file, compiler }: KernelSource,
  folder: TestFolder,
  ...options: string[]
): string {
  const elf = `${folder.path}/${file}.elf`;
  const source = `${FOLDER}/${file}`;
  if (compiler === "gcc" || compiler === "g++") {
    const plain = compiler === "g++" ? ["-fno-exceptions", "-fno-rtti"] : [];
    run(compiler, "-g", "-O1", ...FREESTANDING, ...plain, ...options, "-o", elf, source);
    return elf;
  }
  const object = `${folder.path}/kernel.o`;
  const link = (...libraries: string[]) =>
    run(
      ...["ld", "-static", "-no-pie", "-Ttext=0x100000", "--gc-sections", "-e", "_start"] as const,
      ...["-o", elf, object, ...libraries],
    );
  if (compiler === "zig") {
    run(
      ...["zig", "build-obj", source, "-target", "x86_64-freestanding-none"] as const,
      ...["-mcpu=x86_64-sse-sse2-mmx+soft_float", "-mno-red-zone", "-O", "ReleaseSmall"],
      ...["-fno-strip", "-fno-stack-check", "-fno-compiler-rt", `-femit-bin=${object}`],
      ...["--cache-dir", folder.path, "--global-cache-dir", folder.path, ...options],
    );
    link();
    return elf;
  }
  run(
    ...["rustc", "--edition", "2021", "--crate-name", "kernel", "--emit=obj", "-g"] as const,
    ...["-C", "opt-level=1", "-C", "panic=abort", "-C", "relocation-model=static"],
    ...[...options, "-o", object, source],
  );
  const target = run("rustc", "--print", "target-libdir").trim();
  const core = [...Deno.readDirSync(target)].map(({ name }) => name)
    .filter((name) => /^lib(core|compiler_builtins)-.*\.rlib$/.test(name)).sort().reverse();
  link(...core.map((name) => `${target}/${name}`));
  return elf;
}
