import type { BenchmarkGroup } from "./benchmark.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { MachineMemory } from "./machine_memory.ts";
import type { Summary } from "./statistics.ts";

/** What a file of results says that it is. */
export const FORMAT: Results["format"] = "vmexit-bench";

/** The version of the format: another cannot be read. */
export const FORMAT_VERSION: Results["version"] = 1;

/**
 * What a nanosecond is. `"hardware"`: time. `"emulated"`: time of a machine that is emulated, of which only ratios mean
 * something. `"instructions"`: one instruction of a machine whose clock counts them, so that figures repeat to the digit.
 */
export type Clock = "hardware" | "emulated" | "instructions";

/** What one benchmark came to. */
export interface Measurement {
  /** Its name. */
  readonly name: string;
  /** Its heading. */
  readonly group: BenchmarkGroup;
  /** What it measures. */
  readonly what: string;
  /** What a sample is: one operation, or the mean of a batch of {@linkcode Measurement.operations}. */
  readonly sample: "operation" | "batch";
  /** Operations in a batch. */
  readonly operations: number;
  /** Nanoseconds of an operation. */
  readonly nanoseconds: Summary;
  /** Cycles of the guest's TSC that an operation took, as batches' means, where the guest measured itself. */
  readonly cycles?: Summary;
  /** VM exits that KVM counted for an operation, as the median of batches, where it was asked. */
  readonly exits?: number;
  /** How fast that TSC counts. */
  readonly tscKhz?: number;
  /** The samples, as a compressed HDR histogram in base64, in picoseconds. */
  readonly histogram: string;
  /** What ran before, uncounted, and whether it had become steady by then; undefined where nothing was to. */
  readonly warmUp?: { readonly operations: number; readonly isSteady: boolean };
}

/** A benchmark without figures. */
export interface Unmeasured {
  /** Its name. */
  readonly name: string;
  /** Its heading. */
  readonly group: BenchmarkGroup;
  /** What it measures. */
  readonly what: string;
  /** What this host lacks for it. */
  readonly skipped?: string;
  /** What went wrong. */
  readonly failed?: string;
}

/** The same by a C program, in the same run. */
export interface Comparison {
  /** What was done. */
  readonly name: string;
  /** By instructions of user and kernel together. */
  readonly instructions?: Ratio;
  /** By time, in nanoseconds. */
  readonly wall?: Ratio;
}

/** Two figures of one operation. */
export interface Ratio {
  /** Of C. */
  readonly c: number;
  /** Of vmexit. */
  readonly vmexit: number;
  /** The second by the first. */
  readonly ratio: number;
}

/** What a run of the suite came to: the file that `--save` writes and `--baseline` reads. */
export interface Results {
  /** What a file says that it is. */
  readonly format: "vmexit-bench";
  /** The version of the format. */
  readonly version: 1;
  /** When it began, as ISO 8601. */
  readonly date: string;
  /** What its nanoseconds are. */
  readonly clock: Clock;
  /** On what. */
  readonly fingerprint: Fingerprint;
  /** What it came to, in the order of the suite. */
  readonly benchmarks: readonly (Measurement | Unmeasured)[];
  /** What machines take of memory, where all of the suite was run. */
  readonly machineMemory?: MachineMemory;
  /** Beside C, where that was asked for. */
  readonly comparisons?: readonly Comparison[];
}

/** Whether a benchmark has figures. */
export function isMeasured(result: Measurement | Unmeasured): result is Measurement {
  return "nanoseconds" in result;
}

/**
 * Reads what `--save` has written.
 *
 * @param path For the messages.
 * @throws {TypeError} When it is no such file, or one of another version.
 */
export function parseResults(text: string, path: string): Results {
  let parsed: Partial<Results>;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new TypeError(
      `Cannot read results from ${path}: it is no JSON (${(cause as Error).message})`,
      { cause },
    );
  }
  if (parsed?.format !== FORMAT) {
    throw new TypeError(
      `Cannot read results from ${path}: it is no file that \`vmexit bench --save\` has written`,
    );
  }
  if (parsed.version !== FORMAT_VERSION) {
    throw new TypeError(
      `Cannot read results from ${path}: its format has version ${parsed.version}, and this vmexit reads ` +
        `${FORMAT_VERSION}. Measure anew: vmexit bench --save ${path}`,
    );
  }
  const fault = faultOf(parsed);
  if (fault === undefined) return parsed as Results;
  throw new TypeError(`Cannot read results from ${path}: ${fault}`);
}

const NUMBERS = ["count", "min", "p50", "p90", "p99", "max", "mean"] as const;

/** What is missing in a file that says it is one of results. */
function faultOf({ clock, fingerprint, benchmarks }: Partial<Results>): string | undefined {
  if (!["hardware", "emulated", "instructions"].includes(clock!)) return `its clock is ${clock}`;
  if (!isTexts(fingerprint?.host) || !isTexts(fingerprint?.software)) {
    return "it does not say of which host it is";
  }
  if (!Array.isArray(benchmarks)) return "it has no list of benchmarks";
  for (const [index, each] of benchmarks.entries()) {
    if (typeof each?.name !== "string") return `benchmark ${index} has no name`;
    if (!isMeasured(each)) continue;
    const { nanoseconds, histogram } = each;
    const interval = nanoseconds?.medianInterval;
    const isWhole = NUMBERS.every((name) => Number.isFinite(nanoseconds?.[name])) &&
      Array.isArray(interval) && interval.length === 2 && interval.every(Number.isFinite) &&
      typeof histogram === "string";
    if (!isWhole) return `the figures of ${each.name} are not whole`;
  }
  return undefined;
}

function isTexts(value: unknown): boolean {
  return typeof value === "object" && value !== null &&
    Object.values(value).every((each) => typeof each === "string");
}
