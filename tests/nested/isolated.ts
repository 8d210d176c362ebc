import { assertEquals } from "@std/assert";

/**
 * Gives a test a folder of its own, with what is temporary in it, and makes sure that nothing temporary is left.
 *
 * @param body is given the folder; `tmp` in it is TMPDIR
 */
export async function isolated(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "vmexit-isolated-" });
  const before = Deno.env.get("TMPDIR");
  await Deno.mkdir(`${folder}/tmp`);
  Deno.env.set("TMPDIR", `${folder}/tmp`);
  try {
    await body(folder);
    const left = [...Deno.readDirSync(`${folder}/tmp`)].map(({ name }) => name);
    assertEquals(left, [], "temporary files are left");
  } finally {
    if (before === undefined) Deno.env.delete("TMPDIR");
    else Deno.env.set("TMPDIR", before);
    await Deno.remove(folder, { recursive: true });
  }
}
