import { asm } from "../../guest/asm.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { Machine } from "../../machine/machine.ts";
import { type Needs, requires } from "../../machine/host/requires.ts";
import type { Benchmark, BenchmarkGroup, BenchmarkRun } from "../benchmark.ts";
import {
  type GuestRun,
  type MeasuredGuest,
  MeasuredMachine,
  MOST_IN_A_RUN,
} from "./measured_guest.ts";

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** Statistics by which every guest's work is known: those that each KVM since Linux 5.14 has. */
export const STATISTIC = {
  exits: "exits",
  hypercalls: "hypercalls",
  halts: "halt_exits",
} as const;

/** How a benchmark is known to have done its work, for each operation. */
export interface Proof {
  /** How many exits KVM must have counted at the least, as {@linkcode STATISTIC} has them. */
  readonly exits?: number;
  /** How many hypercalls, likewise. */
  readonly hypercalls?: number;
  /** How many times the vCPU must have halted, likewise. */
  readonly halts?: number;
  /** How many interrupts the guest's handlers must have counted: exactly. */
  readonly interrupts?: number;
  /** How many exits must have reached user space: exactly. Default 0. */
  readonly userExits?: number;
  /** How many may reach user space in all, where their number is not exact. */
  mostUserExits?(operations: number): number;
  /** What R12 must be after so many operations. */
  witness?(operations: number): bigint;
}

/** A benchmark whose guest measures itself. */
export interface GuestBenchmark extends Proof {
  /** Its name. */
  readonly name: string;
  /** Under which heading it is shown. */
  readonly group?: BenchmarkGroup;
  /** What it measures, for people. */
  readonly what: string;
  /** What the host must have. */
  readonly needs?: Needs;
  /** Why this host cannot, beside that. */
  lacks?(): string | undefined;
  /** The guest. */
  guest(): MeasuredGuest;
  /** How many operations one run of the guest can do. Default any number. */
  readonly mostInARun?: number;
  /** Puts on the board what the guest meets. */
  attach?(vm: Machine): void | RunHooks;
}

/** What is done around each run of the guest, and not counted. */
export interface RunHooks {
  /** Makes things as each run must find them. */
  before?(): void;
  /** Throws where the run did not do so many operations. */
  after?(operations: number): void;
  /** Before the machine is disposed. */
  end?(): void;
}

/**
 * A benchmark out of its description. Its nanoseconds are those of the guest's TSC: what the host does between two batches
 * is in neither.
 */
export function guestBenchmark(description: GuestBenchmark): Benchmark {
  const { name, group = "exits in the kernel", what } = description;
  return {
    name,
    group,
    what,
    lacks: () => requires(description.needs ?? {}).reason ?? description.lacks?.(),
    start: () => start(description),
  };
}

/** So many operations come before those that count: caches and emulators know the code then. */
const WARM_UP = 2;

/** Warms a benchmark up; where its first operations fail, its machine is disposed. */
export function warmed(run: BenchmarkRun): BenchmarkRun {
  try {
    run.batch(WARM_UP);
    return run;
  } catch (error) {
    run[Symbol.dispose]();
    throw error;
  }
}

/**
 * Where an operation takes fewer cycles, only means are told: what reading the TSC costs would be a part of each time that
 * cannot be told from it.
 */
const LEAST_SINGLE_CYCLES = 500;

function start(description: GuestBenchmark): BenchmarkRun {
  const { mostInARun = MOST_IN_A_RUN } = description;
  let hooks: void | RunHooks;
  const machine = new MeasuredMachine(description.guest(), (vm) => {
    hooks = description.attach?.(vm);
  });
  const { tscKhz } = machine;
  const nanosecondsPerCycle = NANOSECONDS_PER_MILLISECOND / tscKhz;
  let isLong = true;
  return warmed({
    tscKhz,
    batch(operations) {
      let cycles = 0;
      let exits = 0;
      const each = new Float64Array(isLong ? operations : 0);
      for (let done = 0; done < operations; done += mostInARun) {
        const part = Math.min(operations - done, mostInARun);
        hooks?.before?.();
        const run = machine.run(part);
        checkProof(description, run, part);
        hooks?.after?.(part);
        cycles += run.cycles;
        exits += run.counted(STATISTIC.exits);
        isLong &&= run.each.every((one) => one >= LEAST_SINGLE_CYCLES);
        if (isLong) each.set(run.each.map((one) => one * nanosecondsPerCycle), done);
      }
      const batch = { operations, nanoseconds: cycles * nanosecondsPerCycle, cycles, exits };
      return isLong ? { ...batch, each } : batch;
    },
    [Symbol.dispose]() {
      using _ = machine;
      hooks?.end?.();
    },
  });
}

function checkProof(description: GuestBenchmark, run: GuestRun, operations: number): void {
  const { name, interrupts = 0, userExits = 0, mostUserExits, witness } = description;
  const checkIs = (what: string, found: number | bigint, expected: number | bigint | string) => {
    if (found === expected) return;
    throw new Error(`${name} had ${found} ${what} for ${operations} operations, not ${expected}`);
  };
  for (const kind of ["exits", "hypercalls", "halts"] as const) {
    const expected = description[kind];
    if (expected === undefined) continue;
    const found = run.counted(STATISTIC[kind]);
    if (found < expected * operations) {
      const least = expected * operations;
      throw new Error(`${name} had ${found} ${kind} for ${operations} operations, not ${least}`);
    }
  }
  checkIs("interrupts", run.taken, interrupts * operations);
  if (mostUserExits === undefined) {
    checkIs("exits to user space", run.userExits, userExits * operations);
  } else if (run.userExits > mostUserExits(operations)) {
    checkIs("exits to user space", run.userExits, `at most ${mostUserExits(operations)}`);
  }
  if (witness !== undefined) checkIs("in R12", run.witness, witness(operations));
}

/** The hypercall's instruction is the vendor's: KVM would patch the other's, but not in code that is read-only. */
export function hypercall(): AsmSource {
  return requires({ intel: true }).ignore ? asm`vmmcall` : asm`vmcall`;
}

/** Compares what an eventfd has counted with the writes that were to signal it. */
export function countsNotified(notification: { readonly count: number }): RunHooks {
  let before = 0;
  return {
    before: () => void (before = notification.count),
    after(operations) {
      const signalled = notification.count - before;
      if (signalled === operations) return;
      throw new Error(`The eventfd was signalled ${signalled} times for ${operations} writes`);
    },
  };
}
