/**
 * Compiles the C programs of `baseline/`, and prints where they are: to be run on the host, since a nested machine has
 * no compiler.
 *
 *   deno run -A bench/compile.ts [FOLDER]
 *
 * @module
 */

import { cProgram } from "./c_program.ts";

const programs = new URL("baseline/", import.meta.url);

for (const { name } of Deno.readDirSync(programs)) {
  if (name.endsWith(".c")) console.log(cProgram(new URL(name, programs), Deno.args[0]));
}
