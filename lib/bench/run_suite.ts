import { emulatedMachineName } from "../machine/host/emulated_machine.ts";
import type { Benchmark } from "./benchmark.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { MachineMemory } from "./machine_memory.ts";
import { clockGrain, type Effort, measure } from "./measure.ts";
import {
  type Clock,
  FORMAT,
  FORMAT_VERSION,
  type Measurement,
  type Results,
  type Unmeasured,
} from "./results.ts";

/** How the suite is run. */
export interface SuiteOptions {
  /** What is measured, in this order. */
  readonly benchmarks: readonly Benchmark[];
  /** How long each is given. */
  readonly effort: Effort;
  /** On what. */
  readonly fingerprint: Fingerprint;
  /** What a nanosecond is here. */
  readonly clock: Clock;
  /** Says what machines take of memory; left out, nobody does. */
  readonly machineMemory?: () => MachineMemory;
  /** Hears which benchmark begins: its name, its number from 1, and of how many. */
  readonly onBenchmark?: (name: string, number: number, count: number) => void;
  /** Ends it. */
  readonly signal?: AbortSignal;
}

/** What the nanoseconds of this process are: its KVM is hardware's, or an emulated machine's. */
export function clockInUse(): Clock {
  const machine = emulatedMachineName();
  if (machine === "qemu-icount") return "instructions";
  return machine === undefined ? "hardware" : "emulated";
}

/**
 * Measures one benchmark after the other. One that fails does not keep the others from being measured.
 *
 * @throws What `signal` was aborted with.
 */
export async function runSuite(options: SuiteOptions): Promise<Results> {
  const { benchmarks, effort, fingerprint, clock, onBenchmark, signal } = options;
  const date = new Date().toISOString();
  const grain = clockGrain();
  // Before all else: what benchmarks leave in the heap would make room for machines.
  const machineMemory = options.machineMemory?.();
  const found: (Measurement | Unmeasured)[] = [];
  for (const [index, benchmark] of benchmarks.entries()) {
    onBenchmark?.(benchmark.name, index + 1, benchmarks.length);
    found.push(await measure(benchmark, { effort, grain, signal }));
  }
  const head = { format: FORMAT, version: FORMAT_VERSION, date, clock, fingerprint } as const;
  return { ...head, benchmarks: found, ...machineMemory && { machineMemory } };
}
