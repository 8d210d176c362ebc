import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import config from "../../deno.json" with { type: "json" };
import {
  type Change,
  checkComparable,
  compareResults,
  DEFAULT_THRESHOLD,
  IncomparableError,
} from "../bench/baseline.ts";
import { fingerprint } from "../bench/fingerprint.ts";
import { markdown } from "../bench/markdown.ts";
import { QUICK, THOROUGH } from "../bench/measure.ts";
import { OutputError, OutputFile } from "../bench/output_file.ts";
import { parseResults, type Results } from "../bench/results.ts";
import { machineMemory } from "../bench/machine_memory.ts";
import { clockInUse, runSuite } from "../bench/run_suite.ts";
import { suite } from "../bench/suite/mod.ts";
import { changeTable, resultsTable, type Terminal } from "../bench/table.ts";
import { chosenKvm } from "../kvm/remote/kvm_choice.ts";
import { bochsVmx, qemuIcount } from "../nested/mod.ts";
import { benchVsC } from "./bench_vs_c.ts";
import type { CommandContext } from "./command_context.ts";
import { bootGuests, nestedCommand } from "./nested_command.ts";
import { chooseKvm, machineProgram, prepareKvm } from "./prepare_kvm.ts";
import { runDeno, writeAll } from "./run_deno.ts";
import { testArguments } from "./test_arguments.ts";

const MODULE = /\.[cm]?[jt]sx?$/;

/** Figures of this host cannot be held against the baseline's. */
const INCOMPARABLE_EXIT_CODE = 3;

const OPTIONS = {
  filter: { type: "string" },
  list: { type: "boolean" },
  quick: { type: "boolean" },
  json: { type: "boolean" },
  markdown: { type: "boolean" },
  save: { type: "string" },
  html: { type: "string" },
  baseline: { type: "string" },
  threshold: { type: "string" },
  clock: { type: "string" },
} as const;

/** What `--clock` may say: instructions are counted in a machine that does. */
const INSTRUCTIONS = "instructions";

/** Options whose files are this machine's. */
const WITH_FILE = ["save", "html", "baseline"] as const;

const PERCENT = 100;

/** The width of a table that goes to no terminal. */
const DEFAULT_WIDTH = 120;

/** The options of `vmexit bench` without files. */
type BenchOptions = ReturnType<typeof readOptions>;

/**
 * `vmexit bench`: runs the suite and prints what it came to; with `--vs-c`, beside C programs. `vmexit bench FILE …`: runs `deno bench` with the same
 * arguments, with a KVM.
 *
 * @param args The options, or those of `deno bench` with its files.
 * @param context Who hears of it, what ends it.
 * @returns 0; 1 when a benchmark failed, or became slower than the baseline; 3 when the baseline is of another host.
 * @throws {TypeError | RangeError} When the options, or the baseline, are wrong.
 */
export async function bench(args: readonly string[], context: CommandContext): Promise<number> {
  if (args.includes("--vs-c")) return await benchVsC(args, context);
  if (testArguments(args).paths.some((path) => MODULE.test(path))) {
    return await benchFiles(args, context);
  }
  const options = readOptions(args);
  if (options.list) {
    for (const { name, group, what } of options.benchmarks) {
      console.log(`${name}  (${group}) ${what}`);
    }
    return 0;
  }
  const main = new URL("./main.ts", import.meta.url);
  const isCounted = options.clock === INSTRUCTIONS && clockInUse() !== INSTRUCTIONS;
  if (isCounted || chosenKvm().kvm === "bochs-vmx") {
    const files = WITH_FILE.filter((name) => options[name] !== undefined);
    if (files.length > 0) {
      throw new TypeError(
        `Cannot use --${files[0]} with ${
          isCounted ? "--clock=instructions" : "the machine bochs-vmx"
        }: the suite runs inside an emulated machine. Take what --json prints.`,
      );
    }
  }
  if (isCounted) return await nestedCommand(main, ["bench", ...args], qemuIcount(), context);
  try {
    return await bootGuests(main, ["bench", ...args], () => runHere(options, context), context);
  } catch (error) {
    const isExpected = error instanceof IncomparableError || error instanceof OutputError;
    if (!isExpected) throw error;
    context.progress.note(error.message);
    return error instanceof IncomparableError ? INCOMPARABLE_EXIT_CODE : 1;
  }
}

function readOptions(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: OPTIONS,
    allowPositionals: true,
  });
  if (positionals.length > 0) {
    throw new TypeError(
      `Cannot take ${positionals[0]} as a benchmark: name a module, such as bench/exits_bench.ts`,
    );
  }
  if (values.json && values.markdown) {
    throw new TypeError("Cannot print both JSON and Markdown: leave --json or --markdown out");
  }
  const threshold = values.threshold === undefined
    ? DEFAULT_THRESHOLD
    : Number.parseFloat(values.threshold) / PERCENT;
  if (!(threshold >= 0) || !/^[\d.]+%?$/.test(values.threshold ?? "0")) {
    throw new RangeError(
      `Cannot take ${values.threshold} as --threshold: it is in percent, such as 5 or 2.5%`,
    );
  }
  if (values.threshold !== undefined && values.baseline === undefined) {
    throw new TypeError("Cannot use --threshold alone: it is of --baseline FILE");
  }
  if (values.clock !== undefined && values.clock !== INSTRUCTIONS) {
    throw new TypeError(
      `Cannot measure by the clock ${values.clock}: --clock=instructions counts them; without it time is measured`,
    );
  }
  return { ...values, threshold, benchmarks: filtered(values.filter) };
}

/** Those whose name or group has the text, or matches the expression: `--filter /^pio_/`, as `deno bench` has it. */
function filtered(filter: string | undefined) {
  if (filter === undefined) return suite;
  const expression = /^\/(.*)\/$/.exec(filter)?.[1];
  const pattern = expression === undefined ? undefined : new RegExp(expression);
  const found = suite.filter(({ name, group }) =>
    [name, group].some((text) => pattern?.test(text) ?? text.includes(filter))
  );
  if (found.length > 0) return found;
  throw new RangeError(
    `Cannot find a benchmark by --filter ${filter}: vmexit bench --list names them`,
  );
}

async function runHere(options: BenchOptions, context: CommandContext): Promise<number> {
  const { signal, progress } = context;
  const before = options.baseline === undefined
    ? undefined
    : parseResults(await readBaseline(options.baseline), options.baseline);
  using files = new DisposableStack();
  const save = options.save === undefined ? undefined : files.use(new OutputFile(options.save));
  const html = options.html === undefined ? undefined : files.use(new OutputFile(options.html));

  const clock = clockInUse();
  const { deno, v8 } = Deno.version;
  const on = fingerprint({ vmexit: config.version, deno, v8 }, await emulator());
  if (before !== undefined) checkComparable(before, { clock, fingerprint: on }, options.baseline!);
  const results = await runSuite({
    benchmarks: options.benchmarks,
    effort: options.quick ? QUICK : THOROUGH,
    fingerprint: on,
    clock,
    machineMemory: options.filter === undefined ? () => machineMemory() : undefined,
    signal,
    onBenchmark(name, number, count) {
      if (Deno.stderr.isTerminal()) progress.show(`${number} of ${count}: ${name}`);
    },
  });
  progress.clear();
  const changes = before &&
    compareResults(before, results, options.baseline!, options.threshold);
  save?.write(json(results));
  if (html !== undefined) {
    const { htmlReport } = await import("../bench/report/html_report.ts");
    html.write(await htmlReport(results, before, changes));
  }
  print(options, results, changes);
  return conclude(results, changes, options.threshold);
}

async function readBaseline(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new TypeError(
      `Cannot read the baseline ${path}: ${
        (cause as Error).message
      }. vmexit bench --save ${path} makes one`,
      { cause },
    );
  }
}

/** What emulates the machine whose KVM is used, with its version. */
async function emulator(): Promise<string | undefined> {
  const program = machineProgram(chosenKvm());
  if (program === undefined) return undefined;
  const { stdout } = await new Deno.Command(program.program, { args: ["--version"] }).output();
  return new TextDecoder().decode(stdout).split("\n")[0];
}

function json(results: Results): string {
  return `${JSON.stringify(results, undefined, 2)}\n`;
}

function print(
  options: BenchOptions,
  results: Results,
  changes: readonly Change[] | undefined,
): void {
  const out = (text: string) => writeAll(Deno.stdout, new TextEncoder().encode(text));
  if (options.json) return out(json(results));
  if (options.markdown) return out(markdown(results, changes));
  const isTerminal = Deno.stdout.isTerminal();
  const terminal: Terminal = {
    width: isTerminal ? Deno.consoleSize().columns : DEFAULT_WIDTH,
    colours: isTerminal && !Deno.noColor,
  };
  out(`${resultsTable(results, terminal)}\n`);
  if (changes !== undefined) out(`\n${changeTable(changes, results, terminal)}\n`);
}

/** Names what failed and what has become slower, on standard error. */
function conclude(
  { benchmarks }: Results,
  changes: readonly Change[] | undefined,
  threshold: number,
): number {
  const failed = benchmarks.filter((each) => "failed" in each).map(({ name }) => name);
  const slower = (changes ?? []).filter(({ verdict }) => verdict === "slower");
  if (failed.length > 0) console.error(`vmexit: failed: ${failed.join(", ")}`);
  if (slower.length > 0) {
    const names = slower.map(({ name, ratio }) => `${name} (${ratio!.toFixed(2)} times)`);
    console.error(
      `vmexit: slower than the baseline by more than ${threshold * PERCENT}%: ${names.join(", ")}`,
    );
  }
  return failed.length > 0 || slower.length > 0 ? 1 : 0;
}

async function benchFiles(args: readonly string[], context: CommandContext): Promise<number> {
  const { paths, others, permissions } = testArguments(args);
  const choice = chooseKvm(context);
  if (choice.kvm !== "bochs-vmx") {
    const env = await prepareKvm(choice, context);
    const permission = permissions ? [] : ["--allow-all"];
    const denoArgs = ["bench", ...permission, ...others];
    return await runDeno(denoArgs, { cwd: Deno.cwd(), env, signal: context.signal });
  }
  const rest = others.filter((arg) => !paths.includes(arg));
  for (const path of paths) {
    const url = pathToFileURL(path);
    const code = await nestedCommand(url, rest, bochsVmx(), context, "bench");
    if (code !== 0) return code;
  }
  return 0;
}
