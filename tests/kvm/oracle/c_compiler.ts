const INSTALL =
  "The oracle test compares vmexit's tables with the kernel's header by compiling C: " +
  "install a C compiler and the header (sudo apt-get install gcc libc6-dev linux-libc-dev).";

/** Where a newer or older header can be read from: the `usr/include` of an unpacked `linux-libc-dev`. */
export const HEADERS_VARIABLE = "VMEXIT_LINUX_HEADERS";

function includes(): string[] {
  const folder = Deno.env.get(HEADERS_VARIABLE);
  return folder === undefined ? [] : ["-isystem", `${folder}/x86_64-linux-gnu`, "-isystem", folder];
}

async function run(
  command: string,
  args: string[],
): Promise<{ success: boolean; stdout: string; stderr: string }> {
  try {
    const env = { LC_ALL: "C" };
    const output = await new Deno.Command(command, { args, env }).output();
    const decoder = new TextDecoder();
    return {
      success: output.success,
      stdout: decoder.decode(output.stdout),
      stderr: decoder.decode(output.stderr),
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(INSTALL, { cause: error });
    throw error;
  }
}

/** What the preprocessor makes of C text. `-dM` in `flags` lists macros in its stead. */
export async function preprocess(source: string, flags: string[] = []): Promise<string> {
  const file = await Deno.makeTempFile({ suffix: ".c" });
  try {
    await Deno.writeTextFile(file, source);
    const { success, stdout, stderr } = await run("cc", [
      "-E",
      "-P",
      ...flags,
      ...includes(),
      file,
    ]);
    if (!success) throw new Error(`${INSTALL}\n${stderr}`);
    return stdout;
  } finally {
    await Deno.remove(file);
  }
}

/** A C program that ran, or the lines that did not compile. */
export type Compiled = { readonly output: string } | { readonly wrongLines: ReadonlySet<number> };

/** Compiles and runs a C program. Lines are counted from 1. */
export async function compileAndRun(source: string): Promise<Compiled> {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/oracle.c`;
    await Deno.writeTextFile(file, source);
    const program = `${folder}/oracle`;
    const compiled = await run("cc", ["-w", ...includes(), "-o", program, file]);
    if (compiled.success) return { output: (await run(program, [])).stdout };
    const errors = compiled.stderr.matchAll(/oracle\.c:(\d+):\d+: (?:fatal )?error/g);
    const wrongLines = new Set(Array.from(errors, ([, line]) => Number(line)));
    if (wrongLines.size === 0) throw new Error(`${INSTALL}\n${compiled.stderr}`);
    return { wrongLines };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Compiles C to an ELF file of a guest: freestanding, statically linked at the address at which guests start. */
export async function compileGuest(
  source: string,
  bits: 32 | 64,
): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/guest.c`;
    await Deno.writeTextFile(file, source);
    const program = `${folder}/guest`;
    const { success, stderr } = await run("cc", [
      `-m${bits}`,
      "-O2",
      "-ffreestanding",
      "-fno-pic",
      "-fno-asynchronous-unwind-tables",
      "-mno-sse",
      "-nostdlib",
      "-static",
      "-no-pie",
      "-Wl,-Ttext=0x10000,--build-id=none,-N",
      "-o",
      program,
      file,
    ]);
    if (!success) throw new Error(`${INSTALL}\n${stderr}`);
    return await Deno.readFile(program);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
