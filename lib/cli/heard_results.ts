import type { Benchmark } from "../bench/benchmark.ts";
import type { MachineMemory } from "../bench/machine_memory.ts";
import {
  FORMAT,
  FORMAT_VERSION,
  type Measurement,
  type Results,
  type Unmeasured,
} from "../bench/results.ts";
import { NestedError } from "../nested/mod.ts";
import type { SaidOfSuite } from "./bench_suite.ts";

/** What is heard of the suite while it is measured, and what it comes to. */
export class HeardResults {
  readonly #benchmarks: readonly Benchmark[];
  readonly #date = new Date().toISOString();
  readonly #found: (Measurement | Unmeasured)[] = [];
  #on: Pick<Results, "clock" | "fingerprint"> | undefined;
  #machineMemory: MachineMemory | undefined;
  #isRunning = false;

  /** @param benchmarks All that are to be measured, in their order. */
  constructor(benchmarks: readonly Benchmark[]) {
    this.#benchmarks = benchmarks;
  }

  /** Notes what is said. */
  hear(said: SaidOfSuite): void {
    if ("on" in said) this.#on = said.on;
    else if ("machineMemory" in said) this.#machineMemory = said.machineMemory;
    else if ("begins" in said) this.#isRunning = true;
    else {
      this.#found.push(said.ended);
      this.#isRunning = false;
    }
  }

  /**
   * Has the suite measured in a machine of its own, and, where a benchmark ends that, the rest of it in another.
   *
   * @param run Runs it in a machine, without so many benchmarks at its begin, and has everything heard.
   * @param note Hears which benchmark has ended a machine.
   * @throws What `run` throws, unless it is a {@linkcode NestedError} of a benchmark.
   */
  async measureInside(
    run: (from: number) => Promise<void>,
    note: (message: string) => void,
  ): Promise<void> {
    while (this.#found.length < this.#benchmarks.length) {
      try {
        await run(this.#found.length);
      } catch (error) {
        if (!(error instanceof NestedError) || !this.#isRunning) throw error;
        const { name, group, what } = this.#benchmarks[this.#found.length];
        note(`${name} has ended its machine: ${error.message}`);
        const [failed] = error.message.split("\n");
        this.hear({ ended: { name, group, what, failed } });
      }
    }
  }

  /** All that was found. */
  get results(): Results {
    if (this.#on === undefined) throw new TypeError("Cannot tell results: nothing was heard");
    return {
      format: FORMAT,
      version: FORMAT_VERSION,
      date: this.#date,
      ...this.#on,
      benchmarks: this.#found,
      ...this.#machineMemory && { machineMemory: this.#machineMemory },
    };
  }
}
