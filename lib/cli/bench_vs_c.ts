import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { bochsVmx, NestedError, type NestedMachine, qemuIcount } from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";
import { nestedCommand } from "./nested_command.ts";
import { chooseKvm, prepareKvm } from "./prepare_kvm.ts";
import { captureDeno, writeAll } from "./run_deno.ts";

/** What a comparison found by one clock: of an operation, on the instruction clock instructions, else nanoseconds. */
export interface ClockFigures {
  /** C. */
  readonly c: number;
  /** vmexit. */
  readonly vmexit: number;
  /** vmexit's divided by C's. */
  readonly ratio: number;
}

/** What was compared, as the module prints it. */
export interface Compared extends ClockFigures {
  /** Its own among all. */
  readonly name: string;
  /** What is compared, in a line for people. */
  readonly what: string;
  /** What it is to cost at most on the instruction clock, as a multiple of what C takes; undefined of what has no goal. */
  readonly goal?: number;
}

/** By which clocks it is compared. */
const CLOCKS = ["instructions", "wall"] as const;
type Clock = typeof CLOCKS[number];

/** The project's own benchmarks, which are not published. */
const BENCH = new URL("../../bench/", import.meta.url);

/** @throws {TypeError} When this is a package, which has no C programs. */
async function requireClone(): Promise<void> {
  const isThere = BENCH.protocol === "file:" &&
    await Deno.stat(new URL("baseline/", BENCH)).then(() => true, () => false);
  if (isThere) return;
  throw new TypeError(
    "Cannot compare with C: the C programs are in vmexit's repository, and not in its package. Clone it, and run " +
      "`deno task bench --vs-c` there",
  );
}

/** Runs the module where a machine has its KVM inside, and gives what it printed. */
async function runInside(
  machine: NestedMachine,
  args: readonly string[],
  context: CommandContext,
): Promise<string> {
  const lines: string[] = [];
  const code = await nestedCommand(new URL("vs_c.ts", BENCH), args, machine, context, {
    cwd: fileURLToPath(BENCH),
    onLine: (line) => lines.push(line),
  });
  if (code !== 0) throw new NestedError(`The comparison with C failed with exit code ${code}`);
  return lines.join("\n");
}

async function runHere(args: readonly string[], context: CommandContext): Promise<string> {
  const { progress, signal } = context;
  const choice = chooseKvm(context);
  if (choice.kvm === "bochs-vmx") return await runInside(bochsVmx(), args, context);
  const env = await prepareKvm(choice, context);
  progress.show("measuring by the clock on the wall");
  const module = new URL("vs_c.ts", BENCH);
  const { code, stdout, stderr } = await captureDeno(
    ["run", "--allow-all", "--no-check", module.href, ...args],
    { cwd: fileURLToPath(BENCH), env, signal },
  );
  if (code === 0) return stdout;
  progress.clear();
  writeAll(Deno.stderr, stderr);
  throw new NestedError(`The comparison with C failed with exit code ${code}`);
}

/**
 * Compares what costs most with C programs that make the same system calls for the same guests.
 *
 * @param clock By which clock: instructions, inside an emulated machine that counts them, or the clock on the wall, with
 *   the KVM that tests use.
 * @param args Arguments of `bench/vs_c.ts`.
 * @param context Who hears of it, what ends it.
 * @returns A figure of each.
 * @throws {TypeError} When this is not a clone of the repository.
 * @throws {NestedError} When the machine cannot be had, or the comparison fails.
 */
export async function compareWithC(
  clock: Clock,
  args: readonly string[],
  context: CommandContext,
): Promise<Compared[]> {
  await requireClone();
  const { signal, progress } = context;
  const cwd = fileURLToPath(BENCH);
  const compiled = await captureDeno(["run", "--allow-all", "compile.ts"], { cwd, signal });
  if (compiled.code !== 0) throw new NestedError(new TextDecoder().decode(compiled.stderr).trim());
  const said = clock === "wall"
    ? await runHere(args, context)
    : await runInside(qemuIcount(), args, context);
  progress.clear();
  return said.trim().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** A comparison by all clocks that were asked for. */
type Row = Pick<Compared, "name" | "what" | "goal"> & { [clock in Clock]?: ClockFigures };

const NAME_WIDTH = 22;
const FIGURE_WIDTH = 13;

function table(rows: readonly Row[], clocks: readonly Clock[]): string {
  const cell = (text: string) => text.padStart(FIGURE_WIDTH);
  const number = (value: number) => Math.round(value).toLocaleString("en");
  const head = clocks.flatMap((clock) => {
    const unit = clock === "wall" ? "ns" : "instr.";
    return [`C, ${unit}`, `vmexit, ${unit}`, "ratio"].map(cell);
  });
  const lines = rows.map((row) => [
    row.name.padEnd(NAME_WIDTH),
    ...clocks.flatMap((clock) => {
      const { c, vmexit, ratio } = row[clock]!;
      return [number(c), number(vmexit), ratio.toFixed(3)].map(cell);
    }),
    cell(row.goal?.toFixed(2) ?? ""),
  ]);
  return [[" ".repeat(NAME_WIDTH), ...head, cell("goal")], ...lines].map((line) => line.join(""))
    .join("\n");
}

/**
 * `vmexit bench --vs-c [--json] [--clock=instructions|wall] [--filter=TEXT]`: compares vmexit with C, by instructions and
 * by the clock on the wall.
 *
 * @param args The command's arguments.
 * @param context Who hears of it, what ends it.
 * @returns The exit code.
 * @throws As {@linkcode compareWithC}, and a TypeError when an argument is not known.
 */
export async function benchVsC(args: readonly string[], context: CommandContext): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      "vs-c": { type: "boolean" },
      json: { type: "boolean", default: false },
      clock: { type: "string" },
      filter: { type: "string" },
    },
  });
  const { clock, filter } = values;
  const clocks = CLOCKS.filter((name) => clock === undefined || name === clock);
  if (clocks.length === 0) {
    throw new TypeError(
      `Cannot compare by the clock "${clock}": it is one of ${CLOCKS.join(", ")}`,
    );
  }
  const rows = new Map<string, Row>();
  for (const name of clocks) {
    const found = await compareWithC(
      name,
      filter === undefined ? [] : [`--filter=${filter}`],
      context,
    );
    for (const { c, vmexit, ratio, ...row } of found) {
      rows.set(row.name, { ...row, ...rows.get(row.name), [name]: { c, vmexit, ratio } });
    }
  }
  if (rows.size === 0) throw new TypeError(`Cannot compare "${filter}": no name has it`);
  const comparisons = [...rows.values()];
  console.log(values.json ? JSON.stringify({ comparisons }) : table(comparisons, clocks));
  return 0;
}
