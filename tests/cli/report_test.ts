import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { start, withProject } from "./project.ts";

const MOD = import.meta.resolve("../../mod.ts");

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
  "first_test.ts": `import { asm, boot, expect, portOut } from "@vmexit/vmexit";
const loaded = () => boot(asm\`
  mov al, 1
  hlt
\`);
Deno.test("one that passes", () => {
  using vm = loaded();
  vm.run();
});
Deno.test("one that <fails>", () => {
  using vm = loaded();
  vm.run();
  expect(vm).toHaveRegisters({ al: 2 });
});
Deno.test("one that fails by an assertion of its own", () => {
  using vm = loaded();
  vm.run();
  if (vm.registers.al !== 2) throw new Error("it is not 2");
});
Deno.test("one that passes because its machine fails", () => {
  using vm = loaded();
  try {
    expect(vm).toExit([portOut(1)]);
    // deno-lint-ignore no-empty
  } catch {}
});
for (const al of [1, 3]) {
  Deno.test(\`one of several: \${al}\`, () => {
    using vm = loaded();
    vm.run();
    expect(vm).toHaveRegisters({ al });
  });
}
`,
};

/** What the list of a folder says: name, test, failure. */
function listed(folder: string): (string | undefined)[][] {
  const calls = Deno.readTextFileSync(`${folder}/reports.js`).trimEnd().split("\n");
  return calls.map((call) => {
    const { name, test, failure } = JSON.parse(/^add\((.*)\);$/.exec(call)![1]);
    return [name, test, failure];
  });
}

Deno.test("vmexit test --report has a page for each test that fails, by its name, and for no other", () =>
  withProject(PROJECT, async (folder) => {
    const { code, stdout } = await start(folder, "test", "--no-check", "--report=out").output();
    assertEquals(code, 1);
    assertStringIncludes(stdout, "3 passed, 3 failed");
    assertMatch(stdout, /report: .*\/out\/first_test\.ts_13\.html/);
    const out = `${folder}/p/out`;
    assertEquals(listed(out), [
      ["first_test.ts_13", "one that <fails>", "expect(vm).toHaveRegisters({ al: 0x2 })"],
      ["first_test.ts_18", "one that fails by an assertion of its own", "Error: it is not 2"],
      ["first_test.ts_31-2", "one of several: 3", "expect(vm).toHaveRegisters({ al: 0x3 })"],
    ]);
    const names = [...Deno.readDirSync(out)].map(({ name }) => name).sort();
    assertEquals(names, [
      ...["first_test.ts_13", "first_test.ts_18", "first_test.ts_31-2"].flatMap((name) =>
        ["html", "json", "perfetto.json"].map((ending) => `${name}.${ending}`)
      ),
      "index.html",
      "reports.js",
    ]);
    const page = Deno.readTextFileSync(`${out}/first_test.ts_13.html`);
    assertStringIncludes(page, "<title>one that &lt;fails&gt;</title>");
    assertStringIncludes(page, "registers that changed since boot");
  }));

Deno.test("with --report-all tests that pass have one, too", () =>
  withProject(PROJECT, async (folder) => {
    const { code } = await start(folder, "test", "--no-check", "--report=out", "--report-all")
      .output();
    assertEquals(code, 1);
    // Those of an earlier run go.
    Deno.writeTextFileSync(
      `${folder}/p/first_test.ts`,
      "// Moves all lines.\n" + PROJECT["first_test.ts"],
    );
    await start(folder, "test", "--no-check", "--report=out", "--report-all").output();
    const pages = [...Deno.readDirSync(`${folder}/p/out`)].filter(({ name }) =>
      /^first.*html$/.test(name)
    );
    assertEquals(pages.length, 6);
    const tests = listed(`${folder}/p/out`).map(([, test, failure]) => [test, failure]);
    assertEquals(tests.length, 6);
    assertEquals(tests[0], ["one that passes", undefined]);
  }));

Deno.test("a folder for reports that cannot be made is told before any test runs", () =>
  withProject(PROJECT, async (folder) => {
    Deno.writeTextFileSync(`${folder}/p/file`, "");
    const { code, stdout, stderr } = await start(folder, "test", "--report=file/out").output();
    assertEquals(code, 2);
    assertMatch(stdout + stderr, /Cannot write reports to file\/out: Not a directory/);
    assertEquals(stdout.includes("running"), false);
  }));

Deno.test("what is no list of reports is passed over", () =>
  withProject(PROJECT, async (folder) => {
    Deno.mkdirSync(`${folder}/p/out`);
    Deno.writeTextFileSync(`${folder}/p/out/mine.html`, "mine");
    Deno.writeTextFileSync(
      `${folder}/p/out/reports.js`,
      'add({"name":"../p/first_test"});\nadd({"na\nadd(7);\nadd({"name":"gone","title":"first_test.ts:13"});\n',
    );
    await start(folder, "test", "--no-check", "--report=out").output();
    assertEquals(listed(`${folder}/p/out`).length, 3);
    assertEquals(Deno.readTextFileSync(`${folder}/p/out/mine.html`), "mine");
    assertEquals(Deno.statSync(`${folder}/p/first_test.ts`).isFile, true);
  }));
