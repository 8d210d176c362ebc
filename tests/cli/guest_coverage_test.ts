import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { start, withProject } from "./project.ts";

const MOD = import.meta.resolve("../../mod.ts");

/** A test that boots a guest of \`boot.asm\`, and one of its own. */
function testFile(value: number, end = ""): string {
  return `import { asm, boot } from "@vmexit/vmexit";
Deno.test("file", () => {
  using vm = boot(asm.file("boot.asm"));
  vm.ports.on(0x60, { read: () => ${value} });
  vm.run();
});
Deno.test("template", () => {
  using vm = boot(asm\`
    jmp done
    nop
  done:
    hlt
  \`);
  vm.run();
});
${end}
`;
}

const PROJECT = {
  "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
  "boot.asm": `bits 16
  in al, 0x60
  cmp al, 1
  je one
  cmp al, 2
  je two
  mov al, 0       ; neither
  hlt
one:
  hlt
two:
  hlt
value: db 1
`,
  "one_test.ts": testFile(1),
  "two_test.ts": testFile(2),
};

const KILLED = {
  ...PROJECT,
  "two_test.ts": testFile(
    2,
    `Deno.test("killed", () => {
  const vm = boot(asm.file("boot.asm"));
  vm.ports.on(0x60, { read: () => Deno.kill(Deno.pid, "SIGKILL") });
  vm.run();
});`,
  ),
};

/** The rows of a file in a report. */
function rowsOf(report: string, file: string): string[] {
  const record = report.split("end_of_record\n").find((each) => each.includes(`/${file}\n`));
  return record?.split("\n").filter((row) => /^(DA|LF|LH)/.test(row)) ?? [];
}

const FILE_BY_BOTH = [
  ...["DA:2,2", "DA:3,2", "DA:4,2", "DA:5,1", "DA:6,1", "DA:7,0", "DA:8,0", "DA:10,1", "DA:12,1"],
  ...["LF:9", "LH:7"],
];
const TEMPLATE = ["DA:9,1", "DA:10,0", "DA:12,1", "LF:3", "LH:2"];

Deno.test("the lines of all tests' guests come together in one report, and in a table", async () => {
  await withProject(PROJECT, async (folder) => {
    const run = start(folder, "test", "--no-check", "--guest-coverage=out/lcov.info");
    const { code, stdout, stderr } = await run.output();
    assertEquals(code, 0, stdout + stderr);
    const report = await Deno.readTextFile(`${folder}/p/out/lcov.info`);
    assertEquals(rowsOf(report, "boot.asm"), FILE_BY_BOTH);
    assertEquals(rowsOf(report, "one_test.ts"), TEMPLATE);
    assertEquals(rowsOf(report, "two_test.ts"), TEMPLATE);
    assertMatch(stdout, /^boot\.asm +7 of +9 lines +77\.8 %$/m);
    assertMatch(stdout, /^one_test\.ts +2 of +3 lines +66\.7 %$/m);
    assertMatch(stdout, /^all +11 of 15 lines +73\.3 %$/m);
    assertMatch(stdout, /4 passed, 0 failed\n$/);
    assertEquals([...Deno.readDirSync(`${folder}/p/out`)].map(({ name }) => name), ["lcov.info"]);
  });
});

Deno.test("plain deno test records, too, side by side", async () => {
  await withProject(PROJECT, async (folder) => {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", "--parallel"],
      cwd: `${folder}/p`,
      env: { NO_COLOR: "1", VMEXIT_GUEST_COVERAGE: `${folder}/lcov.info` },
      stderr: "null",
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stdout));
    assertEquals(rowsOf(await Deno.readTextFile(`${folder}/lcov.info`), "boot.asm"), FILE_BY_BOTH);
  });
});

Deno.test("a file that cannot be written is an error before any test runs", async () => {
  await withProject(PROJECT, async (folder) => {
    const run = start(folder, "test", "--no-check", "--guest-coverage=boot.asm/lcov.info");
    const { code, stdout, stderr } = await run.output();
    assertEquals(code === 0, false);
    assertStringIncludes(stderr, "Cannot write the guests' coverage to boot.asm/lcov.info: ");
    assertEquals(stdout, "");
  });
});

Deno.test("what a killed process has recorded is there, and that something may be lost is said", async () => {
  await withProject(KILLED, async (folder) => {
    const run = start(folder, "test", "--no-check", "--guest-coverage");
    const { code, stdout } = await run.output();
    assertEquals(code === 0, false);
    const report = await Deno.readTextFile(`${folder}/p/lcov.info`);
    assertEquals(rowsOf(report, "boot.asm"), FILE_BY_BOTH);
    assertStringIncludes(
      stdout,
      "1 test file ended before its time: what its last machine has executed is not",
    );
    assertMatch(stdout, /\d passed, 1 failed\n$/);
  });
});

Deno.test("tests that may not write there are told so", async () => {
  await withProject(PROJECT, async (folder) => {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "--no-check",
        "--allow-ffi",
        "--allow-run",
        "--allow-env",
        "--allow-read",
        "one_test.ts",
      ],
      cwd: `${folder}/p`,
      env: { NO_COLOR: "1", VMEXIT_GUEST_COVERAGE: `${folder}/lcov.info` },
      stderr: "null",
    }).output();
    assertEquals(code, 1);
    assertStringIncludes(
      new TextDecoder().decode(stdout),
      "Cannot record the guests' coverage in ",
    );
  });
});
