import { EXIT_REASON } from "../kvm/abi/exit_reasons.ts";
import { ExitRecorder } from "../machine/exits/exit_log.ts";
import { Machine } from "../machine/machine.ts";
import { fromCaller } from "../machine/run/run_errors.ts";
import type { RunOptions } from "../machine/run/run_options.ts";
import { hex } from "../x86/hex.ts";
import { msrText } from "../x86/msrs/msr_number.ts";
import { clockInUse } from "./clock_in_use.ts";
import { fingerprint } from "./fingerprint.ts";
import { encodeHistogram } from "./histogram.ts";
import { FORMAT, FORMAT_VERSION, type Measurement, type Results } from "./results.ts";
import { summarize } from "./statistics.ts";

const NANOSECONDS_PER_MILLISECOND = 1e6;

/** So many times of a kind are kept: the latest. */
const MOST_SAMPLES = 2 ** 20;
const FIRST_SAMPLES = 256;

/** So many kinds are told apart: a guest may touch as many addresses as it likes. */
const MOST_KINDS = 1000;

const SIZES: Readonly<Record<number, string>> = { 1: "byte", 2: "word", 4: "dword", 8: "qword" };

const REASON_NAMES = new Map<number, string>(
  Object.entries(EXIT_REASON).map(([name, number]) => [number, name]),
);

/** Exits of one kind, and how long each took. */
class Kind {
  #samples = new Float64Array(FIRST_SAMPLES);
  #count = 0;

  constructor(readonly name: string) {}

  add(nanoseconds: number): void {
    if (this.#count === this.#samples.length && this.#count < MOST_SAMPLES) {
      const more = new Float64Array(2 * this.#count);
      more.set(this.#samples);
      this.#samples = more;
    }
    this.#samples[this.#count++ % MOST_SAMPLES] = nanoseconds;
  }

  get samples(): Float64Array {
    return this.#samples.subarray(0, Math.min(this.#count, MOST_SAMPLES));
  }
}

/** Sorts exits as they come: the time of each ends when the next one comes. */
class ExitTimes {
  readonly #kinds = new Map<number, Map<number, Kind>>();
  #count = 0;
  #latest: Kind | undefined;
  #came = 0;

  exit(reason: number, isWrite: boolean, address: number, size: number, time: number): void {
    this.#latest?.add((time - this.#came) * NANOSECONDS_PER_MILLISECOND);
    this.#latest = this.#kind(reason, isWrite, address, size);
    this.#came = time;
  }

  get kinds(): Kind[] {
    return [...this.#kinds.values()].flatMap((kinds) => [...kinds.values()])
      .filter(({ samples }) => samples.length > 0);
  }

  #kind(reason: number, isWrite: boolean, address: number, size: number): Kind {
    // A double has no room for all of it and the address.
    const first = reason * 32 + size * 2 + (isWrite ? 1 : 0);
    let kinds = this.#kinds.get(first);
    if (kinds === undefined) this.#kinds.set(first, kinds = new Map());
    let kind = kinds.get(address);
    if (kind !== undefined) return kind;
    const isOne = ++this.#count <= MOST_KINDS;
    const key = isOne ? address : -1;
    kind = kinds.get(key);
    if (kind !== undefined) return kind;
    kind = new Kind(nameOf(reason, isWrite, isOne ? address : undefined, size));
    kinds.set(key, kind);
    return kind;
  }
}

function nameOf(
  reason: number,
  isWrite: boolean,
  address: number | undefined,
  size: number,
): string {
  const name = REASON_NAMES.get(reason) ?? `exit reason ${reason}`;
  if (size === 0) return name;
  const isMsr = reason === EXIT_REASON.X86_RDMSR || reason === EXIT_REASON.X86_WRMSR;
  const place = address === undefined ? "elsewhere" : isMsr ? msrText(address) : hex(address);
  if (isMsr) return `${name} ${place}`;
  const [read, write] = reason === EXIT_REASON.IO ? ["in", "out"] : ["read", "write"];
  return `${name} ${isWrite ? write : read} ${place} ${SIZES[size] ?? `${size} bytes`}`;
}

/**
 * Runs a guest as {@linkcode Machine.run} does, and says how long its exits took, by kind: reason, direction, address and
 * width. An exit's time begins when KVM has come back with it and ends when KVM comes back with the next one: its handler,
 * the way into the guest, and what the guest does until then. So the last exit has none.
 *
 * @param vm A machine that is booted; it is run on from where it stands.
 * @param options As of {@linkcode Machine.run}.
 * @returns Results as `vmexit bench --save` has them, a benchmark for each kind, the most frequent first: for
 *   {@linkcode resultsTable}, and as JSON for a file. Of a kind that came more often than 2^20 times, of the latest.
 * @throws As {@linkcode Machine.run} does; {@linkcode TypeError} when `vm` is no machine, or the guest made fewer than two
 *   exits.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { benchExits, resultsTable } from "@vmexit/vmexit/bench";
 *
 * using vm = boot(asm`
 *   mov cx, 1000
 * again:
 *   in  al, 0x60
 *   out 0x61, al
 *   loop again
 *   hlt
 * `, { ports: { 0x60: { read: () => 1 }, 0x61: { write: () => {} } } });
 * const results = benchExits(vm);
 * console.log(resultsTable(results));
 * Deno.writeTextFileSync("exits.json", JSON.stringify(results));
 * ```
 */
export function benchExits(vm: Machine, options: RunOptions = {}): Results {
  return fromCaller(benchExits, () => {
    const times = new ExitTimes();
    const date = new Date().toISOString();
    {
      using _observation = logOf(vm).observe(times);
      vm.run(options);
    }
    const benchmarks = times.kinds.map(measurement)
      .sort((a, b) => b.nanoseconds.count - a.nanoseconds.count);
    if (benchmarks.length === 0) {
      throw new TypeError(
        "Cannot say how long an exit took: the guest made only one, and an exit's time ends when the next comes",
      );
    }
    const { deno, v8 } = Deno.version;
    return {
      format: FORMAT,
      version: FORMAT_VERSION,
      date,
      clock: clockInUse(),
      fingerprint: fingerprint({ deno, v8 }, undefined),
      benchmarks,
    };
  });
}

function logOf(vm: unknown): ExitRecorder {
  if (vm instanceof Machine && vm.log instanceof ExitRecorder) return vm.log;
  throw new TypeError(`Cannot time the exits of ${vm}: give a machine, as boot() returns it`);
}

function measurement({ name, samples }: Kind): Measurement {
  return {
    name,
    group: "exits to user space",
    what: "from when it came until the next exit did",
    sample: "operation",
    operations: 1,
    nanoseconds: summarize(samples),
    histogram: encodeHistogram(samples),
  };
}
