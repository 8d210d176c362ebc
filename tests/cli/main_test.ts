import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { countTests } from "../../lib/cli/junit.ts";
import { leftovers, processesWith, start, withProject } from "./project.ts";

const PROJECT = {
  "deno.json": "{}",
  "lib/add.ts": "export function add(a: number, b: number): number { return a + b; }\n",
  "tests/a_test.ts": `import { add } from "../lib/add.ts";
Deno.test("adds", () => { if (add(1, 2) !== 3) throw new Error("wrong"); });
Deno.test("is nested", () => {
  if (Deno.env.get("VMEXIT_NESTED") !== "qemu-svm") throw new Error("not nested");
  Deno.openSync("/dev/kvm", { read: true, write: true }).close();
});
Deno.test.ignore("is left out", () => {});
`,
  "tests/b_host_test.ts": `import { add } from "../lib/add.ts";
Deno.test("is on the host", () => {
  if (Deno.env.get("VMEXIT_NESTED") !== undefined) throw new Error("nested");
  add(0, 0);
});
`,
};

Deno.test("a project's tests run nested, those for the host here, and all that they leave comes back", async () => {
  await withProject(PROJECT, async (folder) => {
    const run = start(folder, "test", "--junit-path=out.xml", "--coverage=cov");
    const { code, stdout, stderr } = await run.output();
    assertEquals(code, 0, stdout + stderr);
    assertEquals(stdout.trimEnd().split("\n").slice(-2), ["1 skipped", "3 passed, 0 failed"]);
    assertStringIncludes(stderr, "nested machine (QEMU emulating AMD SVM)");
    assertEquals(countTests(await Deno.readTextFile(`${folder}/p/out.xml`)).passed, 3);
    assertMatch(
      await Deno.readTextFile(`${folder}/p/out.xml`),
      /hostname="nested-qemu-svm" name="\.\/tests\/a_test\.ts"/,
    );
    const lcov = await Deno.readTextFile(`${folder}/p/cov/lcov.info`);
    assertMatch(lcov, /SF:.*lib\/add\.ts/);
    assertEquals(leftovers(folder), []);
  });
});

Deno.test("with several folders on the command line, the host's tests still run on the host alone", async () => {
  const files = {
    ...PROJECT,
    "first/c_test.ts": `Deno.test("is there", () => {});\n`,
  };
  await withProject(files, async (folder) => {
    const { code, stdout, stderr } = await start(folder, "test", "first", "tests").output();
    assertEquals(code, 0, stdout + stderr);
    assertEquals(stdout.trimEnd().split("\n").slice(-2), ["1 skipped", "4 passed, 0 failed"]);
  });
});

Deno.test("a failing test's exit code and report come through, and arguments reach deno test", async () => {
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

Deno.test("a type error is told before anything runs, and a path that is not there is Deno's to tell", async () => {
  const wrong = `Deno.test("x", () => { const n: number = "text"; console.log("ran", n); });\n`;
  const host = `Deno.test("y", () => console.log("ran"));\n`;
  const files = { "deno.json": "{}", "x_test.ts": wrong, "y_host_test.ts": host };
  await withProject(files, async (folder) => {
    const typed = await start(folder, "test").output();
    assertEquals(typed.code, 1);
    assertStringIncludes(typed.stderr, "TS2322");
    assertEquals(typed.stdout.includes("ran"), false);
    const missing = await start(folder, "test", "nowhere_test.ts").output();
    assertEquals(missing.code, 1);
    assertEquals(missing.stdout.trimEnd().split("\n").at(-1), "0 passed, 0 failed");
  });
});

const ENDLESS = {
  "deno.json": "{}",
  "x_test.ts": `Deno.test("waits", async () => {
  console.log("it waits");
  await new Promise((resolve) => setTimeout(resolve, 600_000));
});
`,
};

for (const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`${signal} ends everything at once, and nothing is left`, async () => {
    await withProject(ENDLESS, async (folder) => {
      const run = start(folder, "test");
      await run.saw("it waits");
      assertEquals(processesWith(folder).length, 1);
      run.child.kill(signal);
      const { code, stderr } = await run.output();
      assertEquals(code, expected);
      assertStringIncludes(stderr, `stopped by ${signal}`);
      assertEquals(processesWith(folder), []);
      assertEquals(leftovers(folder), []);
    });
  });
}

Deno.test("when it is killed, the machine dies with it, and the next run clears up", async () => {
  await withProject(ENDLESS, async (folder) => {
    const run = start(folder, "test");
    await run.saw("it waits");
    run.child.kill("SIGKILL");
    await run.output();
    for (let tries = 0; tries < 100 && processesWith(folder).length > 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals(processesWith(folder), []);
    assertEquals(leftovers(folder).some((name) => name.startsWith("vmexit-run-")), true);
    await start(folder, "test", "--filter", "nothing of that name").output();
    assertEquals(leftovers(folder).filter((name) => name.startsWith("vmexit-run-")), []);
  });
});

Deno.test("the command line explains itself, and refuses what it does not know", async () => {
  await withProject(PROJECT, async (folder) => {
    assertStringIncludes((await start(folder, "help").output()).stdout, "doctor");
    const unknown = await start(folder, "tset").output();
    assertEquals(unknown.code, 64);
    assertStringIncludes(unknown.stderr, "no command tset");
    const doctor = await start(folder, "doctor").output();
    assertEquals(doctor.code, 0);
    assertStringIncludes(doctor.stdout, "a nested machine");
  });
});
