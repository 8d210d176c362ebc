import type { MachineMemory } from "./machine_memory.ts";
import type { Bucket } from "./histogram.ts";
import {
  type Clock,
  type Comparison,
  isMeasured,
  type Measurement,
  type Results,
} from "./results.ts";

const UNITS = [
  { name: "ns", nanoseconds: 1 },
  { name: "µs", nanoseconds: 1e3 },
  { name: "ms", nanoseconds: 1e6 },
  { name: "s", nanoseconds: 1e9 },
] as const;

const SIGNIFICANT_DIGITS = 3;
const MOST_DECIMALS = 2;

const BARS = "▁▂▃▄▅▆▇█";

/** What the figures of each clock mean, in words; nothing of a clock whose figures are what they seem. */
export const CLOCK_NOTES: Readonly<Record<Clock, string | undefined>> = {
  hardware: undefined,
  emulated: "The machine is emulated: times mean nothing, ratios do.",
  instructions:
    "The clock counts instructions of the emulated machine: a figure is instructions, and repeats to the digit.",
};

/** So many, with three significant digits but never without one before the point: `"8.10"`, `"14.2"`, `"1234"`. */
export function digits(value: number): string {
  if (value === 0) return "0";
  const whole = Math.floor(Math.log10(Math.abs(value))) + 1;
  return value.toFixed(
    Math.min(MOST_DECIMALS, Math.max(0, SIGNIFICANT_DIGITS - Math.max(1, whole))),
  );
}

/** A duration in the unit that suits it, `"8.10 µs"`; instructions as they are, `"1,234 instr"`. */
export function duration(nanoseconds: number, clock: Clock): string {
  if (clock === "instructions") {
    return `${nanoseconds.toLocaleString("en", { maximumFractionDigits: 1 })} instr`;
  }
  // As it is shown: what is rounded to 1000 ns is a microsecond.
  const unit = UNITS.find((each, index) =>
    index === UNITS.length - 1 || Number(digits(nanoseconds / each.nanoseconds)) < 1000
  )!;
  return `${digits(nanoseconds / unit.nanoseconds)} ${unit.name}`;
}

/** Half of the median's confidence interval, by the median: `"±1.2%"`. */
export function uncertainty({ nanoseconds: { medianInterval, p50 } }: Measurement): string {
  const [low, high] = medianInterval;
  const percent = (high - low) / 2 / p50 * 100;
  return `±${percent.toFixed(percent < 10 ? 1 : 0)}%`;
}

/** A change for people: `"+5.2%"`. */
export function change(ratio: number): string {
  const percent = ((ratio - 1) * 100).toFixed(1);
  return `${Number(percent) < 0 ? "−" : "+"}${percent.replace("-", "")}%`;
}

/** A histogram a character a bucket; a bucket that has any sample shows it. */
export function sparkline(buckets: readonly Pick<Bucket, "count">[]): string {
  const most = Math.max(...buckets.map(({ count }) => count));
  return buckets.map(({ count }) =>
    count === 0 ? " " : BARS[Math.ceil(count / most * BARS.length) - 1]
  ).join("");
}

/** What is to be known of a measurement beside its figures: whatever makes them less than they seem. */
export function caveats(
  { nanoseconds: { count, outliers }, warmUp, sample }: Measurement,
): string[] {
  const found: string[] = [];
  if (warmUp?.isSteady === false) found.push("was not steady when it was counted");
  const far = outliers.low + outliers.high;
  if (far * 10 > count) {
    found.push(
      `${far} of ${count} ${
        sample === "batch" ? "batches" : "operations"
      } are outliers, ${outliers.severe} of them severe`,
    );
  }
  return found;
}

/** A row for each comparison, and what heads them. */
export function comparisonRows(comparisons: readonly Comparison[]): string[][] {
  const instructions = (value: number | undefined) =>
    value === undefined ? "" : duration(value, "instructions");
  const time = (value: number | undefined) =>
    value === undefined ? "" : duration(value, "hardware");
  const ratio = (value: number | undefined) => value?.toFixed(3) ?? "";
  return [
    ["beside C", "C", "vmexit", "ratio", "C", "vmexit", "ratio"],
    ...comparisons.map(({ name, instructions: counted, wall }) => [
      name,
      instructions(counted?.c),
      instructions(counted?.vmexit),
      ratio(counted?.ratio),
      time(wall?.c),
      time(wall?.vmexit),
      ratio(wall?.ratio),
    ]),
  ];
}

const KIB = 1024;
const NANOSECONDS_PER_SECOND = 1e9;

/** Benchmarks that are of a whole machine, and what each does with it. */
const OF_MACHINES = {
  machine: "made, run to HLT and disposed",
  reset: "reset and run to HLT",
} as const;

/** How many machines there are in a second, by medians, and what one takes of memory: a sentence each. */
export function notesOnMachines({ benchmarks, clock, machineMemory }: Results): string[] {
  const rates = Object.entries(OF_MACHINES).flatMap(([machine, what]) =>
    benchmarks.filter(isMeasured).filter(({ name }) => name === machine)
      .map(({ nanoseconds: { p50 } }) => `${whole(NANOSECONDS_PER_SECOND / p50)} ${what}`)
  );
  const period = clock === "instructions"
    ? `${whole(NANOSECONDS_PER_SECOND)} instructions`
    : "second";
  return [
    ...rates.length === 0 ? [] : [`Machines per ${period}: ${rates.join("; ")}.`],
    ...machineMemory === undefined ? [] : [memoryNote(machineMemory)],
  ];
}

function memoryNote({ machines, process, kernel }: MachineMemory): string {
  const size = (bytes: number) => `${whole(bytes / KIB)} KiB`;
  const ofKernel = kernel === undefined ? "" : ` and ${size(kernel)} of the kernel`;
  return `A machine of one page takes ${
    size(process)
  } of this process${ofKernel} (mean of ${machines}).`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}
