import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { start, withProject } from "./project.ts";

const TARGET = `
import { asm, boot, fuzz } from "@vmexit/vmexit";

Deno.test("the counter stops", () => {
  using vm = boot(asm\`
    mov al, [0x900]
    cmp al, 0x42
    je wrong
    hlt
  wrong:
    out 0x80, al
    hlt
  \`, { coverage: true });
  fuzz(vm, (input) => {
    vm.memory.write(0x900, input);
    vm.run();
  }, { seeds: [new Uint8Array(1)], maxLength: 1, corpus: new URL("corpus/", import.meta.url) });
});
`;

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${import.meta.resolve("../../mod.ts")}" } }`,
  "counter_test.ts": TARGET,
  "other_test.ts": `Deno.test("nothing", () => {});`,
};

Deno.test("vmexit fuzz hunts in tests, whose failures fail the next plain run", async () => {
  await withProject(PROJECT, async (folder) => {
    const hunt = start(folder, "fuzz", "counter_test.ts", "--runs=200", "--seed=1");
    const { code, stdout } = await hunt.output();
    assertEquals(code, 1);
    assertStringIncludes(stdout, "0 passed, 1 failed");
    assertMatch(
      stdout,
      /vmexit fuzz: 2\d\d runs in [\d.]+ s \(\d+ a second\), 1 inputs, 5 of 6 lines, 1 failures\n$/,
    );
    const failures = [...Deno.readDirSync(`${folder}/p/corpus/failures`)].map(({ name }) => name);
    assertEquals(failures.length, 1);
    const input = Deno.readFileSync(`${folder}/p/corpus/failures/${failures[0]}`);
    assertEquals([...input], [0x42]);
    const plain = await start(folder, "test", "counter_test.ts").output();
    assertEquals(plain.code, 1);
    assertStringIncludes(plain.stdout, "UnhandledExitError");
    assertStringIncludes(plain.stdout, failures[0]);
  });
});

Deno.test("vmexit fuzz of tests that do not fuzz, and with options that say nothing, is an error", async () => {
  await withProject(PROJECT, async (folder) => {
    const nothing = await start(folder, "fuzz", "other_test.ts", "--runs=5").output();
    assertEquals(nothing.code, 1);
    assertStringIncludes(nothing.stderr, "no test has called fuzz(): nothing was tried");
    for (
      const [args, message] of [
        [[], "Cannot fuzz nothing: name a file"],
        [["a_test.ts", "--runs=none"], "Cannot fuzz with --runs none: give a whole number"],
        [["a_test.ts", "--time=0"], "Cannot fuzz with --time 0: give a whole number"],
      ] as const
    ) {
      const wrong = await start(folder, "fuzz", ...args).output();
      assertEquals([wrong.code, wrong.stderr.includes(message)], [64, true], wrong.stderr);
    }
  });
});
