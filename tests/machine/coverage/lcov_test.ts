import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { handOverParts } from "../../../lib/machine/coverage/coverage_record.ts";
import {
  addCount,
  addGap,
  formatLcov,
  noCounts,
  readLcov,
} from "../../../lib/machine/coverage/lcov.ts";

Deno.test("counts are written by file and line, and read as they were", () => {
  const counts = noCounts();
  addCount(counts, "/b.asm", 10, 0);
  addCount(counts, "/b.asm", 9, 2);
  addCount(counts, "/a.ts", 1, 1);
  addCount(counts, "/b.asm", 9, 1);
  addGap(counts, "it was stepped", 2);
  const text = formatLcov(counts);
  assertEquals(
    text,
    "# gap in 2: it was stepped\n" +
      "TN:\nSF:/a.ts\nDA:1,1\nLF:1\nLH:1\nend_of_record\n" +
      "TN:\nSF:/b.asm\nDA:9,3\nDA:10,0\nLF:2\nLH:1\nend_of_record\n",
  );
  const again = noCounts();
  readLcov(text, again);
  readLcov(text, again);
  assertEquals(again.files.get("/b.asm"), new Map([[9, 6], [10, 0]]));
  assertEquals(again.gaps, new Map([["it was stepped", 4]]));
});

const ROW = (reached: number[]) =>
  `${
    JSON.stringify({ lines: { "/a.asm": [1, 2, 3] }, reached: { "/a.asm": reached }, gaps: [] })
  }\n`;

Deno.test("parts are added to the file, and one that was cut short to its last whole row", () => {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-lcov-" });
  try {
    const file = `${folder}/lcov.info`;
    Deno.writeTextFileSync(`${folder}/1.part`, ROW([1]) + ROW([1, 2]));
    Deno.writeTextFileSync(`${folder}/2.part`, ROW([1]) + '{"lines":{"/a.asm":[1');
    handOverParts(file, [`${folder}/1.part`]);
    const counts = handOverParts(file, [`${folder}/2.part`]);
    assertEquals(counts.files.get("/a.asm"), new Map([[1, 3], [2, 1], [3, 0]]));
    assertStringIncludes(Deno.readTextFileSync(file), "DA:1,3\nDA:2,1\nDA:3,0\n");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["lcov.info"]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("where the disk is full, the file is what it was, and the parts are kept", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "vmexit-lcov-" });
  try {
    const file = `${folder}/lcov.info`;
    const part = `${folder}/1.part`;
    Deno.writeTextFileSync(file, "TN:\nSF:/b.asm\nDA:9,3\nend_of_record\n");
    Deno.writeTextFileSync(part, ROW([1]));
    const before = Deno.readTextFileSync(file);
    const module = import.meta.resolve("../../../lib/machine/coverage/coverage_record.ts");
    const script = `${folder}/script.ts`;
    Deno.writeTextFileSync(
      script,
      `import { handOverParts } from ${JSON.stringify(module)};
       try { handOverParts(${JSON.stringify(file)}, [${
        JSON.stringify(part)
      }]); } catch (error) { console.log(error.message); }`,
    );
    // No file may grow: a write fails as it does on a full disk.
    const command =
      'trap "" XFSZ; ulimit -f 0; exec "$0" run --allow-all --no-check --no-code-cache "$1"';
    const { stdout } = await new Deno.Command("bash", {
      args: ["-c", command, Deno.execPath(), script],
      stderr: "null",
    }).output();
    assertStringIncludes(new TextDecoder().decode(stdout), "File too large");
    assertEquals(Deno.readTextFileSync(file), before);
    assertEquals(Deno.readTextFileSync(part), ROW([1]));
    assert(![...Deno.readDirSync(folder)].some(({ name }) => name.endsWith(".new")));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
