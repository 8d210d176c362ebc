import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { countTests } from "../../lib/cli/junit.ts";
import { gone } from "../kvm/remote/remote_processes.ts";
import { leftovers, processesWith, start, withProject } from "./project.ts";

const MOD = import.meta.resolve("../../mod.ts");

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
  "lib/add.ts": "export function add(a: number, b: number): number { return a + b; }\n",
  "tests/a_test.ts": `import { asm, boot, expect, hlt, portOut } from "@vmexit/vmexit";
import { add } from "../lib/add.ts";
Deno.test("a guest runs", () => {
  using vm = boot(asm\`
    out 0x10, al
    hlt
  \`);
  vm.registers.al = add(1, 2);
  expect(vm).toExit([portOut(0x10, 3), hlt()]);
});
Deno.test.ignore("is left out", () => {});
`,
};

Deno.test("vmexit test runs deno test here, reports where it was told to, and ends with the counts", async () => {
  await withProject(PROJECT, async (folder) => {
    const run = start(
      folder,
      "test",
      "--junit-path=out/deep/x.xml",
      "--coverage=cov",
      "--no-check",
    );
    const { code, stdout, stderr } = await run.output();
    assertEquals(code, 0, stdout + stderr);
    assertEquals(stdout.trimEnd().split("\n").slice(-2), ["1 skipped", "1 passed, 0 failed"]);
    assertStringIncludes(stderr, "using the KVM of an emulated machine (QEMU emulating AMD SVM)");
    const report = await Deno.readTextFile(`${folder}/p/out/deep/x.xml`);
    assertEquals(countTests(report), { passed: 1, failed: 0, skipped: 1 });
    assertMatch(await Deno.readTextFile(`${folder}/p/cov/lcov.info`), /SF:.*lib\/add\.ts/);
    assertEquals(leftovers(folder), []);
    const standard = await start(folder, "test", "--junit-path=-", "--no-check", "--timing")
      .output();
    const timing = /\d s {4}(assembling|booting|running guests|disposing machines), 1 times\n/g;
    assertEquals([...standard.stdout.matchAll(timing)].length, 4, standard.stdout);
    assertMatch(standard.stdout, /\n\d+\.\d tests per second\n<\?xml/);
    assertMatch(standard.stdout, /<testsuites[^]*<\/testsuites>\n1 skipped\n1 passed, 0 failed\n$/);
  });
});

Deno.test("a failing test's exit code comes through, and arguments reach deno test", async () => {
  const failing = `Deno.test("fails", () => { throw new Error("on purpose"); });
Deno.test("other", () => {});
`;
  await withProject({ "deno.json": "{}", "x_test.ts": failing }, async (folder) => {
    const { code, stdout } = await start(folder, "test", "--filter", "fails", "x_test.ts").output();
    assertEquals(code, 1);
    assertStringIncludes(stdout, "on purpose");
    assertEquals(stdout.trimEnd().split("\n").at(-1), "0 passed, 1 failed");
  });
});

Deno.test("what fails outside of tests counts: a type error, a path that is not there, a module that throws", async () => {
  const wrong = `Deno.test("x", () => { const n: number = "text"; console.log("ran", n); });\n`;
  const throws = `Deno.test("y", () => {});\nthrow new Error("at import");\n`;
  const files = { "deno.json": "{}", "x_test.ts": wrong, "y_test.ts": throws };
  await withProject(files, async (folder) => {
    for (
      const [path, text] of [
        ["x_test.ts", "TS2322"],
        ["nowhere_test.ts", "nowhere_test.ts' failed, not found"],
        ["y_test.ts", "at import"],
      ]
    ) {
      const { code, stdout, stderr } = await start(folder, "test", path).output();
      assertEquals(code, 1);
      assertStringIncludes(stdout + stderr, text);
      assertEquals(stdout.includes("ran"), false);
      assertEquals(stdout.trimEnd().split("\n").at(-1), "0 passed, 1 failed");
    }
  });
});

const ENDLESS = {
  ...PROJECT,
  "tests/a_test.ts": `import { asm, boot } from "@vmexit/vmexit";
Deno.test("waits", async () => {
  using vm = boot(asm\`hlt\`);
  console.log("it waits");
  await new Promise((resolve) => setTimeout(resolve, 600_000));
});
`,
};

for (const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`${signal} ends everything at once, and nothing is left`, async () => {
    await withProject(ENDLESS, async (folder) => {
      const run = start(folder, "test", "--no-check");
      await run.saw("it waits");
      const machines = processesWith(folder);
      assertEquals(machines.length, 2, "the machine and its supervisor");
      run.child.kill(signal);
      const { code, stderr } = await run.output();
      assertEquals(code, expected);
      assertStringIncludes(stderr, `stopped by ${signal}`);
      assert(await gone(machines));
      assertEquals(leftovers(folder), []);
    });
  });
}

Deno.test("the command line explains itself, and refuses what it does not know", async () => {
  await withProject(PROJECT, async (folder) => {
    assertStringIncludes((await start(folder, "help").output()).stdout, "doctor");
    const unknown = await start(folder, "tset").output();
    assertEquals(unknown.code, 64);
    assertStringIncludes(unknown.stderr, "no command tset");
    const option = await start(folder, "setup", "--all").output();
    assertEquals(option.code, 64);
    assertStringIncludes(
      option.stderr,
      "--c-compiler, --gdb, --firmware, --instruction-clock and --no-install only",
    );
    const doctor = await start(folder, "doctor").output();
    assertEquals(doctor.code, 0);
    assertStringIncludes(doctor.stdout, "the KVM of an emulated machine");
  });
});

Deno.test("vmexit bench measures what a project's Deno.bench says, and shows it", async () => {
  const bench = `import { asm, boot } from "@vmexit/vmexit";
Deno.bench("a machine's life", { n: 3, warmup: 1 }, () => {
  using vm = boot(asm\`hlt\`);
  vm.run();
});
`;
  await withProject({ ...PROJECT, "bench/life_bench.ts": bench }, async (folder) => {
    const { code, stdout, stderr } = await start(
      folder,
      "bench",
      "--no-check",
      "bench/life_bench.ts",
    ).output();
    assertEquals(code, 0, stdout + stderr);
    assertMatch(stdout, /\| a machine's life +\| +[\d.]+ ms/);
  });
});
