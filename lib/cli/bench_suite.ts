/**
 * Measures the suite where the KVM can be reached: in the process of `vmexit bench`, or as a program of its own in an emulated
 * machine, which prints what {@linkcode measureSuite} says as lines of JSON.
 *
 *   deno run -A lib/cli/bench_suite.ts '{ "quick": true, "filter": "pio" }'
 *
 * @module
 */
import config from "../../deno.json" with { type: "json" };
import type { Benchmark } from "../bench/benchmark.ts";
import { fingerprint } from "../bench/fingerprint.ts";
import { clockInUse } from "../bench/clock_in_use.ts";
import { byInstructions, clockGrain, measure, QUICK, THOROUGH } from "../bench/measure.ts";
import { type MachineMemory, machineMemory } from "../bench/machine_memory.ts";
import type { Measurement, Results, Unmeasured } from "../bench/results.ts";
import { suite } from "../bench/suite/mod.ts";
import { writeAll } from "./run_deno.ts";

/** What is measured. */
export interface SuiteChoice {
  /** Those whose name or group has the text, or matches the expression between slashes. */
  readonly filter?: string;
  /** Roughly. */
  readonly quick?: boolean;
  /** What emulates the machine that has the KVM, with its version. */
  readonly emulator?: string;
  /** How many of them are left out, the first ones. */
  readonly from?: number;
}

/** What is said while the suite is measured: on what, what a machine takes, which benchmark begins, what it came to. */
export type SaidOfSuite =
  | { readonly on: Pick<Results, "clock" | "fingerprint"> }
  | { readonly machineMemory: MachineMemory }
  | { readonly begins: string }
  | { readonly ended: Measurement | Unmeasured };

/**
 * Those whose name or group has the text, or matches the expression: `--filter /^pio_/`, as `deno bench` has it.
 *
 * @throws {RangeError} When there is none.
 * @throws {TypeError} When the expression is none.
 */
export function filtered(filter: string | undefined): readonly Benchmark[] {
  if (filter === undefined) return suite;
  const expression = /^\/(.*)\/$/.exec(filter)?.[1];
  const pattern = expression === undefined ? undefined : compiled(expression, filter);
  const found = suite.filter(({ name, group }) =>
    [name, group].some((text) => pattern?.test(text) ?? text.includes(filter))
  );
  if (found.length > 0) return found;
  throw new RangeError(
    `Cannot find a benchmark by --filter ${filter}: vmexit bench --list names them`,
  );
}

function compiled(expression: string, filter: string): RegExp {
  try {
    return new RegExp(expression);
  } catch (cause) {
    throw new TypeError(`Cannot take ${filter} as --filter: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/**
 * Measures the suite on the KVM that this process reaches. A benchmark that fails does not keep the others from being
 * measured.
 *
 * @param choice What of it, and how.
 * @param say Hears of it as it goes; what it throws ends the suite.
 * @param signal Ends it.
 */
export async function measureSuite(
  { filter, quick, emulator, from = 0 }: SuiteChoice,
  say: (said: SaidOfSuite) => void,
  signal?: AbortSignal,
): Promise<void> {
  const clock = clockInUse();
  const effort = quick ? QUICK : THOROUGH;
  const { deno, v8 } = Deno.version;
  say({
    on: { clock, fingerprint: fingerprint({ vmexit: config.version, deno, v8 }, emulator) },
  });
  const options = {
    effort: clock === "instructions" ? byInstructions(effort) : effort,
    grain: clockGrain(),
    signal,
  };
  // Before all else: what benchmarks leave in the heap would make room for machines.
  if (filter === undefined && from === 0) say({ machineMemory: machineMemory() });
  const benchmarks = filtered(filter);
  for (const [index, benchmark] of benchmarks.entries()) {
    if (index < from) continue;
    say({ begins: `${index + 1} of ${benchmarks.length}: ${benchmark.name}` });
    say({ ended: await measure(benchmark, options) });
  }
}

if (import.meta.main) {
  const encoder = new TextEncoder();
  await measureSuite(
    JSON.parse(Deno.args[0]),
    (said) => writeAll(Deno.stdout, encoder.encode(`${JSON.stringify(said)}\n`)),
  );
}
