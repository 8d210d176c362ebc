import { assertEquals, assertRejects } from "@std/assert";
import { makeSealedFolder, openSealedFolder, sealFolder } from "../../lib/nested/sealed_folder.ts";

async function withSealed(body: (folder: string) => Promise<void>): Promise<void> {
  const place = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${place}/new/sub`, { recursive: true });
    await Deno.writeTextFile(`${place}/new/a`, "first");
    await Deno.writeTextFile(`${place}/new/sub/b`, "second");
    await sealFolder(`${place}/new`, `${place}/sealed`, { of: "test" });
    await body(`${place}/sealed`);
  } finally {
    await Deno.remove(place, { recursive: true });
  }
}

Deno.test("a sealed folder opens with what it was made of", async () => {
  await withSealed(async (folder) => {
    const manifest = await openSealedFolder(folder);
    assertEquals(manifest?.made, { of: "test" });
    assertEquals(manifest?.files.map(({ name }) => name), ["a", "sub/b"]);
  });
});

const damages: [string, (folder: string) => Promise<void>][] = [
  ["has no manifest", (folder) => Deno.remove(`${folder}/manifest.json`)],
  ["has half a manifest", (folder) => Deno.truncate(`${folder}/manifest.json`, 20)],
  ["lacks a file", (folder) => Deno.remove(`${folder}/sub/b`)],
  ["has a file cut short", (folder) => Deno.truncate(`${folder}/a`, 2)],
  ["has a file of other content", (folder) => Deno.writeTextFile(`${folder}/a`, "fIrst")],
  ["is not there", (folder) => Deno.remove(folder, { recursive: true })],
];

/** Waits until a file that is written now has a later time than those of the folder: its clock has a coarse grain. */
async function fileClockMoved(folder: string): Promise<void> {
  const then = Deno.statSync(`${folder}/a`).mtime!.getTime();
  const probe = `${folder}.probe`;
  do {
    await new Promise((resolve) => setTimeout(resolve, 1));
    Deno.writeTextFileSync(probe, "");
  } while (Deno.statSync(probe).mtime!.getTime() <= then);
  Deno.removeSync(probe);
}

for (const [what, damage] of damages) {
  Deno.test(`a folder that ${what} does not open`, async () => {
    await withSealed(async (folder) => {
      await fileClockMoved(folder);
      await damage(folder);
      assertEquals(await openSealedFolder(folder), undefined);
    });
  });
}

Deno.test("a file that was only touched is still good", async () => {
  await withSealed(async (folder) => {
    await Deno.utime(`${folder}/a`, new Date(0), new Date(0));
    assertEquals((await openSealedFolder(folder))?.made.of, "test");
  });
});

Deno.test("sealing again takes the old folder's place", async () => {
  await withSealed(async (folder) => {
    await Deno.mkdir(`${folder}.new`);
    await Deno.writeTextFile(`${folder}.new/c`, "third");
    await sealFolder(`${folder}.new`, folder, {});
    assertEquals((await openSealedFolder(folder))?.files.map(({ name }) => name), ["c"]);
  });
});

Deno.test("a folder whose making fails leaves nothing, and the one that it was to replace is still there", async () => {
  await withSealed(async (folder) => {
    const place = folder.slice(0, folder.lastIndexOf("/"));
    const making = makeSealedFolder(folder, async (unfinished) => {
      await Deno.writeTextFile(`${unfinished}/half`, "half");
      throw new Error("on purpose");
    });
    await assertRejects(() => making, Error, "on purpose");
    assertEquals([...Deno.readDirSync(place)].map(({ name }) => name), ["sealed"]);
    assertEquals((await openSealedFolder(folder))?.made, { of: "test" });
  });
});
