import { assertEquals } from "@std/assert";
import { projectRoot } from "../../lib/cli/project_files.ts";

/** A tree of configurations in a folder that goes away: path → text. */
async function inTree(
  files: Record<string, string>,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/outer/project/deep`, { recursive: true });
    for (const [path, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${path}`, text);
    }
    await body(`${folder}/outer`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a project is the folder of the nearest configuration above", async () => {
  await inTree({ "outer/project/deno.json": "{}" }, async (outer) => {
    assertEquals(await projectRoot(`${outer}/project/deep`), `${outer}/project`);
  });
});

Deno.test("a configuration further out does not make everything beside it part of the project", async () => {
  const files = { "outer/project/deno.json": "{}", "outer/package.json": `{ "name": "stray" }` };
  await inTree(files, async (outer) => {
    assertEquals(await projectRoot(`${outer}/project/deep`), `${outer}/project`);
  });
});

for (
  const [name, text] of [
    ["deno.json", `{ "workspace": ["./project"] }`],
    ["package.json", `{ "workspaces": ["project"] }`],
  ]
) {
  Deno.test(`a workspace that ${name} makes is the project of its members`, async () => {
    await inTree({ "outer/project/deno.json": "{}", [`outer/${name}`]: text }, async (outer) => {
      assertEquals(await projectRoot(`${outer}/project/deep`), outer);
    });
  });
}
