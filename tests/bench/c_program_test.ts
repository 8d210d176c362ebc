import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { cProgram } from "../../bench/c_program.ts";

/** Without a compiler the host cannot: then these are skipped. */
const ignore = !(Deno.env.get("PATH") ?? "").split(":").some((folder) => {
  try {
    return folder !== "" && Deno.statSync(join(folder, "cc")).isFile;
  } catch {
    return false;
  }
});

function temporaryFolder(): Disposable & { readonly path: string } {
  const path = Deno.makeTempDirSync();
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

/** Writes a program that prints `text`, compiles it, and returns its path. */
function compiled(folder: string, text: string): string {
  const source = join(folder, "say.c");
  Deno.writeTextFileSync(source, `#include <stdio.h>\nint main(void) { puts("${text}"); }\n`);
  return cProgram(pathToFileURL(source), join(folder, "programs"));
}

Deno.test("a C program is compiled once, and again when its text changes", { ignore }, () => {
  using folder = temporaryFolder();
  const first = compiled(folder.path, "one");
  const { ino } = Deno.statSync(first);
  assertEquals(compiled(folder.path, "one"), first);
  assertEquals(Deno.statSync(first).ino, ino);

  const second = compiled(folder.path, "two");
  assertNotEquals(second, first);
  const { stdout } = new Deno.Command(second).outputSync();
  assertEquals(new TextDecoder().decode(stdout), "two\n");
  assertEquals([...Deno.readDirSync(join(folder.path, "programs"))].length, 2);
});

Deno.test("a C program is compiled again when what programs share changes", { ignore }, () => {
  using folder = temporaryFolder();
  const header = join(folder.path, "baseline.h");
  Deno.writeTextFileSync(header, "#define SAID 1\n");
  const first = compiled(folder.path, "one");
  Deno.writeTextFileSync(header, "#define SAID 2\n");
  assertNotEquals(compiled(folder.path, "one"), first);
});

Deno.test("what the compiler says of a wrong program is in the error, and nothing is kept", {
  ignore,
}, () => {
  using folder = temporaryFolder();
  assertThrows(() => compiled(folder.path, `"wrong`), Error, "say.c:2");
  assertEquals([...Deno.readDirSync(join(folder.path, "programs"))], []);
});

Deno.test("the programs of bench compile without a warning", { ignore }, () => {
  using folder = temporaryFolder();
  const bench = new URL("../../bench/baseline/", import.meta.url);
  for (const { name } of Deno.readDirSync(bench)) {
    if (!name.endsWith(".c")) continue;
    const { stderr } = new Deno.Command("cc", {
      args: ["-O2", "-Wall", "-Wextra", "-Werror", "-o", join(folder.path, "program"), name],
      cwd: bench,
    }).outputSync();
    assertEquals(new TextDecoder().decode(stderr), "");
  }
});
