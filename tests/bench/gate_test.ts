import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { isMeasured, parseResults } from "../../lib/bench/results.ts";
import { missingPackages, qemuIcount } from "../../lib/nested/mod.ts";

/**
 * What is held against `bench/instructions.json`, which `deno task bench:baseline` writes anew: some of each kind, whose
 * figures are the same in every run, to the digit but for `pci-mem` (1 %).
 */
const GATED = [
  "pio_out_8",
  "mmio_read",
  "pio_out_ioeventfd",
  "registers_by_ioctl",
  "cpuid",
  "inl_from_qemu",
  "inl_from_kernel",
  "pci-mem",
];

/** The baseline is of another QEMU, kernel or processor: figures of one are none of the other. */
const INCOMPARABLE_EXIT_CODE = 3;

const MAIN = fileURLToPath(new URL("../../lib/cli/main.ts", import.meta.url));
const BASELINE = fileURLToPath(new URL("../../bench/instructions.json", import.meta.url));

async function bench(cwd: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--allow-all", "--no-check", MAIN, "bench", "--clock=instructions"],
      ...[`--filter=/^(${GATED.join("|")})$/`, ...args],
    ],
    cwd,
    env: { NO_COLOR: "1" },
  }).output();
  const [said, complained] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, stdout: said, stderr: complained };
}

const missing = await missingPackages(qemuIcount());
const ignore = missing.length > 0;
const name = "nothing takes more instructions than in bench/instructions.json";

Deno.test({
  name: ignore ? `${name} (skipped: no ${missing.join(", ")})` : name,
  ignore,
  async fn(t) {
    const folder = await Deno.makeTempDir({ prefix: "vmexit-gate-" });
    try {
      if (Deno.args.includes("update")) {
        const { code, stderr } = await bench(folder, "--save", BASELINE);
        return assertEquals(code, 0, stderr);
      }
      const { code, stdout, stderr } = await bench(
        folder,
        ...["--baseline", BASELINE, "--markdown", "--save", "now.json", "--html", "now.html"],
      );
      if (code === INCOMPARABLE_EXIT_CODE) {
        const why = stderr.split("\n").slice(2).join(" ").replaceAll(/\s+/g, " ");
        const skipped = `skipped: ${why} (deno task bench:baseline)`;
        return void await t.step({ name: skipped, ignore: true, fn() {} });
      }
      assert(code === 0 || code === 1, stderr);
      const now = parseResults(await Deno.readTextFile(`${folder}/now.json`), "now.json");
      const before = parseResults(await Deno.readTextFile(BASELINE), BASELINE);
      assertEquals(now.clock, "instructions");
      for (const results of [before, now]) {
        assertEquals(results.benchmarks.filter(isMeasured).map(({ name }) => name), GATED);
      }
      assertStringIncludes(await Deno.readTextFile(`${folder}/now.html`), "<code>pio_out_8</code>");
      assertMatch(stdout, /^### vmexit bench\n[^]*\d of 8 benchmarks as before/);
      assertEquals(code, 0, stderr);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
