/**
 * Tests per second of so many tiny tests, each with a machine of its own: without reuse of VMs, and with it.
 *
 *     deno run -A bench/tests_per_second.ts [COUNT]
 *
 * @module
 */
import { testsPerSecond } from "../lib/cli/timing.ts";

const count = Number(Deno.args[0] ?? 1000);
const root = new URL("..", import.meta.url).pathname;

const TESTS = `import { asm, boot, expect, hlt, portOut } from "@vmexit/vmexit";

for (let number = 0; number < ${count}; number++) {
  Deno.test(\`tiny \${number}\`, () => {
    using vm = boot(asm\`
      mov al, \${number & 0xff}
      out 0x10, al
      hlt
    \`);
    expect(vm).toExit([portOut(0x10, number & 0xff), hlt()]);
  });
}
`;

const folder = await Deno.makeTempDir({ prefix: "vmexit-tiny-" });
try {
  await Deno.writeTextFile(`${folder}/tiny_test.ts`, TESTS);
  for (const reuse of ["0", "1"]) {
    const junit = `${folder}/${reuse}.xml`;
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", "--quiet", `--config=${root}/deno.json`].concat(
        `--junit-path=${junit}`,
        `${folder}/tiny_test.ts`,
      ),
      env: { VMEXIT_REUSE: reuse },
      stdout: "null",
      stderr: "inherit",
    }).output();
    if (code !== 0) Deno.exit(code);
    const rate = testsPerSecond(await Deno.readTextFile(junit));
    console.log(`VMEXIT_REUSE=${reuse}: ${rate?.toFixed(1)} tests per second`);
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
