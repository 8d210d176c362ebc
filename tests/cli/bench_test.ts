import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { isMeasured, parseResults, type Results } from "../../lib/bench/results.ts";
import { start, withProject } from "./project.ts";

const MOD = import.meta.resolve("../../mod.ts");
const QUICK = ["bench", "--quick", "--filter", "/^pio_out_8$/"];

async function run(folder: string, ...args: string[]) {
  const { code, stdout, stderr } = await start(folder, ...args).output();
  return {
    code,
    stdout,
    stderr,
    files: [...Deno.readDirSync(`${folder}/p`)].map(({ name }) => name).sort(),
  };
}

Deno.test("vmexit bench measures the suite: JSON alone on standard output, and the same in a file", async () => {
  await withProject({ "deno.json": "{}" }, async (folder) => {
    const { code, stdout, stderr, files } = await run(
      folder,
      ...QUICK,
      "--json",
      "--save",
      "r.json",
      "--html",
      "r.html",
    );
    assertEquals(code, 0, stderr);
    const results = parseResults(stdout, "standard output");
    assertEquals(stdout, await Deno.readTextFile(`${folder}/p/r.json`));
    assertEquals(files, ["deno.json", "r.html", "r.json"]);
    assertStringIncludes(await Deno.readTextFile(`${folder}/p/r.html`), "<code>pio_out_8</code>");
    assertEquals([results.clock, results.benchmarks.length], ["emulated", 1]);
    const [first] = results.benchmarks;
    assert(isMeasured(first) && first.name === "pio_out_8" && first.nanoseconds.p50 > 0);
    assert(first.cycles !== undefined && first.cycles.p50 > 0 && first.tscKhz! > 0);
    assertMatch(results.fingerprint.host.KVM, /qemu-svm \(QEMU emulator version \d/);
    assertEquals(results.fingerprint.software.deno, Deno.version.deno);
    // No line of progress: standard error is no terminal.
    assertMatch(stderr, /^vmexit: using the KVM of an emulated machine [^\n]*\n$/);
  });
});

/** Results of this host, with another median. */
function scaled(results: Results, factor: number): string {
  return JSON.stringify(
    results,
    (key, value) =>
      ["p50", "medianInterval"].includes(key)
        ? Array.isArray(value) ? value.map((each) => each * factor) : value * factor
        : value,
  );
}

Deno.test("a baseline: slower is exit code 1 with a name, another host 3, and what is no baseline is told at once", async () => {
  await withProject({ "deno.json": "{}", "broken.json": "{" }, async (folder) => {
    const path = (name: string) => `${folder}/p/${name}`;
    assertEquals((await run(folder, ...QUICK, "--save", "now.json")).code, 0);
    const now: Results = parseResults(await Deno.readTextFile(path("now.json")), "now.json");

    await Deno.writeTextFile(path("fast.json"), scaled(now, 0.001));
    const slower = await run(folder, ...QUICK, "--baseline", "fast.json", "--threshold", "50");
    assertEquals(slower.code, 1, slower.stderr);
    assertMatch(slower.stdout, /against the baseline +before +now +change\npio_out_8 .* slower\n$/);
    assertMatch(
      slower.stderr,
      /slower than the baseline by more than 50%: pio_out_8 \([\d.]+ times\)/,
    );

    await Deno.writeTextFile(path("slow.json"), scaled(now, 1000));
    const faster = await run(folder, ...QUICK, "--markdown", "--baseline", "slow.json");
    assertEquals(faster.code, 0, faster.stderr);
    assertMatch(faster.stdout, /^### vmexit bench\n[^]*\| `pio_out_8` \|.*\| faster \|/);

    const { host, software } = now.fingerprint;
    const elsewhere = { ...now, fingerprint: { host: { ...host, microcode: "0x17" }, software } };
    await Deno.writeTextFile(path("elsewhere.json"), JSON.stringify(elsewhere));
    const other = await run(folder, ...QUICK, "--baseline", "elsewhere.json", "--save", "x.json");
    assertEquals([other.code, other.stdout], [3, ""]);
    assertStringIncludes(other.stderr, "Cannot compare with elsewhere.json: it is of another host");
    assertStringIncludes(
      other.stderr,
      `microcode\n    baseline  0x17\n    now       ${host.microcode}`,
    );
    assert(!other.files.includes("x.json") && !other.files.some((name) => name.startsWith(".")));
  });
});

const WRONG: readonly (readonly [args: string, message: string, code?: number])[] = [
  ["--nothing", "Unknown option '--nothing'"],
  ["thing", "Cannot take thing as a benchmark: name a module"],
  ["--save=", "Cannot take nothing as --save: give it a value"],
  ["--filter=", "Cannot take nothing as --filter: give it a value"],
  ["--quick --baseline .", "Cannot read the baseline .: Is a directory"],
  ["--filter nothing_is_called_so", "Cannot find a benchmark by --filter nothing_is_called_so"],
  ["--filter /(/", "Cannot take /(/ as --filter: Invalid regular expression"],
  ["--save r --html ./r", "Cannot write results and report to the same file ./r"],
  ["--json --markdown", "Cannot print both JSON and Markdown"],
  ["--threshold 5", "Cannot use --threshold alone"],
  ["--baseline b --threshold 5x", "Cannot take 5x as --threshold"],
  ["--baseline b --threshold=-1", "Cannot take -1 as --threshold"],
  ["--quick --baseline broken.json", "Cannot read results from broken.json: it is no JSON"],
  ["--quick --baseline none.json", "vmexit bench --save none.json makes one"],
  ["--quick --save no/r.json", "Cannot write no/r.json", 1],
];

Deno.test("what is wrong on the command line is told before anything is measured", async () => {
  await withProject({ "deno.json": "{}", "broken.json": "{" }, async (folder) => {
    await Promise.all(WRONG.map(async ([args, message, expected = 64]) => {
      const { code, stdout, stderr } = await start(folder, "bench", ...args.split(" ")).output();
      assertEquals([code, stdout], [expected, ""], `${args}: ${stderr}`);
      assertStringIncludes(stderr, message);
      assert(!stderr.includes("    at "), stderr);
    }));
  });
});

Deno.test("results that cannot be written are shown all the same", async () => {
  await withProject({ "deno.json": "{}" }, async (folder) => {
    const measuring = start(folder, ...QUICK, "--save", "r.json", "--html", "r.html").output();
    const begun = () =>
      [...Deno.readDirSync(`${folder}/p`)].some(({ name }) => name.startsWith(".r"));
    while (!begun()) await new Promise((resolve) => setTimeout(resolve, 20));
    // What was a place for a file before the measurement is none behind it.
    await Deno.mkdir(`${folder}/p/r.json`);
    const { code, stdout, stderr } = await measuring;
    assertEquals(code, 1, stderr);
    assertMatch(stdout, /^pio_out_8 +[\d.]+ .?s /m);
    assertStringIncludes(stderr, "Cannot write r.json: ");
    const names = [...Deno.readDirSync(`${folder}/p`)].map(({ name }) => name).sort();
    assertEquals(names, ["deno.json", "r.html", "r.json"]);
  });
});

Deno.test("--list names what there is, and needs no KVM", async () => {
  await withProject({ "deno.json": "{}" }, async (folder) => {
    const { code, stdout, stderr } = await run(folder, "bench", "--list", "--filter", "pio_out_8");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^pio_out_8 {2}\(exits to user space\) \w/m);
  });
});

const BENCHMARK = `import { asm, boot } from "@vmexit/vmexit";
Deno.bench("a guest halts", () => {
  using vm = boot(asm\`hlt\`);
  vm.run();
});
`;

Deno.test("vmexit bench FILE is deno bench, with a KVM and its own arguments", async () => {
  const files = {
    "deno.json": `{ "imports": { "@vmexit/vmexit": "${MOD}" } }`,
    "halt_bench.ts": BENCHMARK,
    "wrong_bench.ts": `Deno.bench("fails", () => { throw new Error("on purpose"); });`,
  };
  await withProject(files, async (folder) => {
    const { code, stdout, stderr } = await run(
      folder,
      "bench",
      "--no-check",
      "--json",
      "halt_bench.ts",
    );
    assertEquals(code, 0, stderr);
    const { benches } = JSON.parse(stdout);
    assertEquals(benches.length, 1);
    assertEquals(benches[0].name, "a guest halts");
    assert(benches[0].results[0].ok.n > 0);
    const wrong = await run(
      folder,
      "bench",
      "--no-check",
      "wrong_bench.ts",
      "halt_bench.ts",
      "--filter",
      "fails",
    );
    assertEquals(wrong.code, 1, wrong.stdout);
    assertStringIncludes(wrong.stdout + wrong.stderr, "on purpose");
  });
});
