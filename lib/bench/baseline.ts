import { type Difference, differences } from "./fingerprint.ts";
import { isMeasured, type Measurement, type Results } from "./results.ts";

/** By how much a median may grow: a twentieth. */
export const DEFAULT_THRESHOLD = 0.05;

/**
 * What became of a benchmark. `"slower"` and `"faster"`: the median changed by more than the threshold, and the two
 * confidence intervals have nothing in common. `"missing"`: it has no figures any more.
 */
export type Verdict = "slower" | "faster" | "same" | "missing" | "new";

/** One benchmark, before and now. */
export interface Change {
  /** Its name. */
  readonly name: string;
  /** The median before, in nanoseconds. */
  readonly before: number | undefined;
  /** The median now. */
  readonly now: number | undefined;
  /** The second by the first. */
  readonly ratio: number | undefined;
  /** What became of it. */
  readonly verdict: Verdict;
}

/** Results that cannot be held against each other. */
export class IncomparableError extends Error {
  /** The name that a stack trace shows. */
  override name = "IncomparableError";
  /** In what they differ. */
  readonly differences: readonly Difference[];

  /** @param path Of the baseline. */
  constructor(path: string, found: readonly Difference[]) {
    const lines = found.map(({ name, first, second }) =>
      `  ${name}\n    baseline  ${first ?? "not known"}\n    now       ${second ?? "not known"}`
    );
    super(
      `Cannot compare with ${path}: it is of another host. They differ in\n${lines.join("\n")}\n` +
        "Measure the baseline anew, here: vmexit bench --save FILE",
    );
    this.differences = found;
  }
}

/**
 * Holds results against earlier ones of the same host.
 *
 * @param before The baseline.
 * @param now What was measured now; benchmarks that were not run are left out.
 * @param path Of the baseline, for the message.
 * @param threshold By how much a median may change.
 * @throws {IncomparableError} When they are of different hosts, or clocks.
 */
export function compareResults(
  before: Results,
  now: Results,
  path: string,
  threshold: number = DEFAULT_THRESHOLD,
): Change[] {
  checkComparable(before, now, path);
  const earlier = new Map(before.benchmarks.filter(isMeasured).map((each) => [each.name, each]));
  return now.benchmarks.flatMap((each): Change[] => {
    const then = earlier.get(each.name);
    const current = isMeasured(each) ? each : undefined;
    if (then === undefined && current === undefined) return [];
    const ratio = then && current && current.nanoseconds.p50 / then.nanoseconds.p50;
    return [{
      name: each.name,
      before: then?.nanoseconds.p50,
      now: current?.nanoseconds.p50,
      ratio,
      verdict: verdict(then, current, threshold),
    }];
  });
}

/**
 * Does nothing where results can be held against each other.
 *
 * @param now What is, or is to be, measured.
 * @throws {IncomparableError} When they are of different hosts, or clocks.
 */
export function checkComparable(
  before: Results,
  now: Pick<Results, "clock" | "fingerprint">,
  path: string,
): void {
  const found = differences(
    { ...before.fingerprint.host, clock: before.clock },
    { ...now.fingerprint.host, clock: now.clock },
  );
  if (found.length > 0) throw new IncomparableError(path, found);
}

function verdict(
  then: Measurement | undefined,
  now: Measurement | undefined,
  threshold: number,
): Verdict {
  if (then === undefined) return "new";
  if (now === undefined) return "missing";
  const ratio = now.nanoseconds.p50 / then.nanoseconds.p50;
  const [low, high] = now.nanoseconds.medianInterval;
  const [lowThen, highThen] = then.nanoseconds.medianInterval;
  if (ratio > 1 + threshold && low > highThen) return "slower";
  if (ratio < 1 - threshold && high < lowThen) return "faster";
  return "same";
}
