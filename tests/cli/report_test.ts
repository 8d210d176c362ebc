import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { start, withProject } from "./project.ts";

const MOD = import.meta.resolve("../../mod.ts");

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
  "first_test.ts": `import { asm, boot, expect } from "@vmexit/vmexit";
Deno.test("one that passes", () => {
  using vm = boot(asm\`hlt\`);
  vm.run();
});
Deno.test("one that <fails>", () => {
  using vm = boot(asm\`
    mov al, 1
    hlt
  \`);
  vm.run();
  expect(vm).toHaveRegisters({ al: 2 });
});
`,
};

Deno.test("vmexit test --report has a page for the test that fails, by its name", () =>
  withProject(PROJECT, async (folder) => {
    const { code, stdout } = await start(folder, "test", "--report=out").output();
    assertEquals(code, 1);
    assertStringIncludes(stdout, "1 passed, 1 failed");
    assertMatch(stdout, /report: .*\/out\/first_test\.ts_12\.html/);
    const names = [...Deno.readDirSync(`${folder}/p/out`)].map(({ name }) => name).sort();
    assertEquals(names, [
      "first_test.ts_12.html",
      "first_test.ts_12.json",
      "first_test.ts_12.perfetto.json",
      "index.html",
    ]);
    const index = Deno.readTextFileSync(`${folder}/p/out/index.html`);
    assertStringIncludes(index, '<a href="first_test.ts_12.html">one that &lt;fails&gt;</a>');
    assertStringIncludes(
      Deno.readTextFileSync(`${folder}/p/out/first_test.ts_12.html`),
      "<title>one that &lt;fails&gt;</title>",
    );
  }));
