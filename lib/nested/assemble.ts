import { capture } from "./host_program.ts";
import { NestedError } from "./nested_error.ts";

/**
 * Assembles a source of our own to plain bytes.
 *
 * @param nasm The path of NASM.
 * @param name What the result is called in messages.
 * @param source NASM source.
 * @param defines Values for names that the source leaves open.
 * @returns The bytes.
 * @throws {NestedError} When NASM refuses the source.
 */
export async function assemble(
  nasm: string,
  name: string,
  source: string,
  defines: Readonly<Record<string, number>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ prefix: `vmexit-${name}-` });
  try {
    await Deno.writeTextFile(`${folder}/${name}.asm`, source);
    const given = Object.entries(defines).map(([key, value]) => `-d${key}=${value}`);
    const args = ["-f", "bin", ...given, "-o", `${folder}/${name}`, `${folder}/${name}.asm`];
    const { code, stderr } = await capture(nasm, args);
    if (code !== 0) throw new NestedError(`NASM cannot assemble the ${name} program: ${stderr}`);
    return await Deno.readFile(`${folder}/${name}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
