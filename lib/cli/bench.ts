import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import {
  type Change,
  checkComparable,
  compareResults,
  DEFAULT_THRESHOLD,
  IncomparableError,
} from "../bench/baseline.ts";
import { markdown } from "../bench/markdown.ts";
import { OutputError, OutputFile } from "../bench/output_file.ts";
import { parseResults, type Results } from "../bench/results.ts";
import { changeTable, resultsTable, type Terminal } from "../bench/table.ts";
import {
  bochsVmx,
  type MachineProgram,
  NestedError,
  type NestedMachine,
  qemuIcount,
  requireMachineProgram,
} from "../nested/mod.ts";
import { filtered, measureSuite, type SaidOfSuite, type SuiteChoice } from "./bench_suite.ts";
import { benchVsC } from "./bench_vs_c.ts";
import type { CommandContext } from "./command_context.ts";
import { HeardResults } from "./heard_results.ts";
import { nestedCommand } from "./nested_command.ts";
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
  try {
    return await benchSuite(options, context);
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
  for (const [name, value] of Object.entries(values)) {
    if (value === "") throw new TypeError(`Cannot take nothing as --${name}: give it a value`);
  }
  const { save, html } = values;
  if (save !== undefined && html !== undefined && resolve(save) === resolve(html)) {
    throw new TypeError(`Cannot write results and report to the same file ${html}`);
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

/** Measures, here or where the KVM is, and makes of the results here what was asked for. */
async function benchSuite(options: BenchOptions, context: CommandContext): Promise<number> {
  const { baseline, threshold } = options;
  const before = baseline === undefined
    ? undefined
    : parseResults(await readBaseline(baseline), baseline);
  using files = new DisposableStack();
  const save = options.save === undefined ? undefined : files.use(new OutputFile(options.save));
  const html = options.html === undefined ? undefined : files.use(new OutputFile(options.html));

  const results = await measured(options, context, (on) => {
    if (before !== undefined) checkComparable(before, on, baseline!);
  });
  const changes = before && compareResults(before, results, baseline!, threshold);
  // First what costs nothing: a disk that is full must not take what was measured for minutes.
  print(options, results, changes);
  const code = conclude(results, changes, threshold);
  const written = [save === undefined || isWritten(save, json(results), context)];
  if (html !== undefined) {
    const { htmlReport } = await import("../bench/report/html_report.ts");
    written.push(isWritten(html, await htmlReport(results, before, changes), context));
  }
  return written.includes(false) ? 1 : code;
}

/** Writes a file; one that cannot be written is told, and keeps no other from being written. */
function isWritten(file: OutputFile, text: string, { progress }: CommandContext): boolean {
  try {
    file.write(text);
    return true;
  } catch (error) {
    if (!(error instanceof OutputError)) throw error;
    progress.note(error.message);
    return false;
  }
}

/**
 * Has the suite measured.
 *
 * @param check Hears on what, before anything is measured; what it throws ends it.
 */
async function measured(
  { clock, filter, quick }: BenchOptions,
  context: CommandContext,
  check: (on: Pick<Results, "clock" | "fingerprint">) => void,
): Promise<Results> {
  const { progress, signal } = context;
  const heard = new HeardResults(filtered(filter));
  const hear = (said: SaidOfSuite) => {
    if ("on" in said) check(said.on);
    if ("begins" in said && Deno.stderr.isTerminal()) progress.show(said.begins);
    heard.hear(said);
  };
  const inside = async (machine: NestedMachine) => {
    await requireMachineProgram(machine, progress.show, signal);
    const emulator = await version(machine);
    const module = new URL("./bench_suite.ts", import.meta.url);
    await heard.measureInside(async (from) => {
      const choice: SuiteChoice = { filter, quick, emulator, from };
      const code = await nestedCommand(module, [JSON.stringify(choice)], machine, context, {
        // It reads nothing of the project that we are in.
        cwd: module.protocol === "file:" ? fileURLToPath(new URL(".", module)) : undefined,
        onLine: (line) => hear(JSON.parse(line)),
      });
      if (code !== 0) throw new NestedError(`The suite failed with exit code ${code}`);
    }, progress.note);
  };
  const choice = clock === INSTRUCTIONS ? undefined : chooseKvm(context);
  if (choice === undefined) await inside(qemuIcount());
  else if (choice.kvm === "bochs-vmx") await inside(bochsVmx());
  else {
    const { PATH } = await prepareKvm(choice, context);
    Deno.env.set("PATH", PATH);
    const program = machineProgram(choice);
    const emulator = program && await version(program);
    await measureSuite({ filter, quick, emulator }, hear, signal);
  }
  progress.clear();
  return heard.results;
}

async function readBaseline(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    const hint = cause instanceof Deno.errors.NotFound
      ? `. vmexit bench --save ${path} makes one`
      : "";
    throw new TypeError(
      `Cannot read the baseline ${path}: ${(cause as Error).message}${hint}`,
      { cause },
    );
  }
}

/** The line in which an emulator says which it is. */
async function version({ program }: MachineProgram): Promise<string | undefined> {
  const { stdout, stderr } = await new Deno.Command(program, { args: ["--version"] }).output();
  const decoder = new TextDecoder();
  const said = decoder.decode(stdout) + decoder.decode(stderr);
  return /^.*\bemulator\b.*\d.*$/im.exec(said)?.[0].trim();
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
    const code = await nestedCommand(url, rest, bochsVmx(), context, { subcommand: "bench" });
    if (code !== 0) return code;
  }
  return 0;
}
