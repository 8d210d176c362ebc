/**
 * Compiles the C programs of this folder, and prints where they are: to be run on the host, since a nested machine has
 * no compiler.
 *
 *   deno run -A bench/compile.ts [FOLDER]
 *
 * @module
 */

import { cProgram } from "./c_program.ts";

const here = new URL(".", import.meta.url);

for (const { name } of Deno.readDirSync(here)) {
  if (name.endsWith(".c")) console.log(cProgram(new URL(name, here), Deno.args[0]));
}
