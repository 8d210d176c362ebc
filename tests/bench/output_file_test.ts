import { assert, assertEquals, assertThrows } from "@std/assert";
import { OutputError, OutputFile } from "../../lib/bench/output_file.ts";

function withFolder(test: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    test(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const names = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name);

Deno.test("a file is there once it is whole", () => {
  withFolder((folder) => {
    const path = `${folder}/r.json`;
    Deno.writeTextFileSync(path, "old");
    {
      using file = new OutputFile(path);
      assertEquals(Deno.readTextFileSync(path), "old");
      file.write("new");
    }
    assertEquals(Deno.readTextFileSync(path), "new");
    assertEquals(names(folder), ["r.json"]);
  });
});

Deno.test("one that is not written leaves what was there, and nothing else", () => {
  withFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/r.json`, "old");
    new OutputFile(`${folder}/r.json`)[Symbol.dispose]();
    assertEquals(Deno.readTextFileSync(`${folder}/r.json`), "old");
    assertEquals(names(folder), ["r.json"]);
  });
});

Deno.test("a place where no file can be is refused before the work", () => {
  withFolder((folder) => {
    assertThrows(
      () => new OutputFile(`${folder}/no/r.json`),
      OutputError,
      `Cannot write ${folder}/no`,
    );
    assertThrows(() => new OutputFile(folder), OutputError, "it is a folder, or a device");
    Deno.symlinkSync("/dev/null", `${folder}/null`);
    assertThrows(
      () => new OutputFile(`${folder}/null`),
      OutputError,
      "it is a folder, or a device",
    );
    Deno.removeSync(`${folder}/null`);
    assertEquals(names(folder), []);
  });
});

Deno.test("a disk that is full in the middle leaves no half file", () => {
  withFolder((folder) => {
    Deno.writeTextFileSync(`${folder}/r.json`, "old");
    const program = `
      import { OutputFile } from "${import.meta.resolve("../../lib/bench/output_file.ts")}";
      using file = new OutputFile("${folder}/r.json");
      file.write("x".repeat(100_000));`;
    Deno.writeTextFileSync(`${folder}/write.ts`, program);
    // A limit of a file's size is what a full disk is, but for the error's number.
    const script = `trap '' XFSZ; ulimit -f 8; exec "$@"`;
    const { success, stderr } = new Deno.Command("sh", {
      args: ["-c", script, "sh", Deno.execPath(), "run", "-A", "--no-check", `${folder}/write.ts`],
      env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
    }).outputSync();
    const said = new TextDecoder().decode(stderr);
    assert(!success);
    assert(said.includes(`OutputError: Cannot write ${folder}/r.json: File too large`), said);
    assertEquals(Deno.readTextFileSync(`${folder}/r.json`), "old");
    assertEquals(names(folder).sort(), ["r.json", "write.ts"]);
  });
});
