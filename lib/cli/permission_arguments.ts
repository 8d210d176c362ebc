import { dirname, join } from "node:path";
import type { TestArguments } from "./test_arguments.ts";

/** Takes comments and trailing commas away, which deno.json may have and JSON may not. */
function withoutComments(text: string): string {
  return text.replace(
    /("(?:[^"\\]|\\.)*")|\/\/[^\n]*|\/\*[\s\S]*?\*\/|,(?=\s*[}\]])/g,
    (_, quoted: string | undefined) => quoted ?? "",
  );
}

/** Whether the nearest configuration has a permission set for tests. */
async function configuresPermissions(cwd: string): Promise<boolean> {
  for (let folder = cwd;; folder = dirname(folder)) {
    for (const name of ["deno.json", "deno.jsonc"]) {
      try {
        const config = JSON.parse(withoutComments(await Deno.readTextFile(join(folder, name))));
        return config.test?.permissions !== undefined;
      } catch (error) {
        // A broken one is for Deno to complain about.
        if (error instanceof SyntaxError) return false;
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    if (folder === dirname(folder)) return false;
  }
}

/**
 * The permissions for tests when the command line names none: those that deno.json has for them, else all, because guests need memory mappings,
 * the assembler and the device.
 *
 * @param parsed what the command line has
 * @param cwd where the search for deno.json begins
 */
export async function permissionArguments(parsed: TestArguments, cwd: string): Promise<string[]> {
  if (parsed.permissions) return [];
  return await configuresPermissions(cwd) ? ["--permission-set"] : ["--allow-all"];
}
