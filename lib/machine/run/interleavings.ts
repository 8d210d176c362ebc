/** Which seeds {@linkcode interleavings} tries. */
export interface InterleavingRange {
  /** The first one. */
  readonly first: number;
  /** How many. */
  readonly count: number;
}

/**
 * Runs `body` with one seed after the other, for `boot(…, { interleaving: { seed } })`. At the first failure it throws
 * what `body` threw, with the seed in its message: give that seed to have the same run again.
 *
 * @param range How many seeds, from 0 on, or which.
 * @throws {RangeError} When it is no whole number of seeds.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, interleavings } from "@vmexit/vmexit";
 *
 * const guest = asm`
 *   lock inc word [0x2000]
 *   hlt
 * `;
 * interleavings(20, (seed) => {
 *   using vm = boot(guest, { cpus: [{}, {}], interleaving: { seed } });
 *   vm.run();
 *   expect(vm).toHaveMemory(0x2000, [2]);
 * });
 * ```
 */
export function interleavings(
  range: number | InterleavingRange,
  body: (seed: number) => void,
): void {
  const { first, count } = typeof range === "number" ? { first: 0, count: range } : range;
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || first < 0 || count < 1) {
    throw new RangeError(
      `Cannot try ${count} interleavings from seed ${first} on: give whole numbers, from 1 and from 0 up`,
    );
  }
  for (let seed = first; seed < first + count; seed++) {
    try {
      body(seed);
    } catch (error) {
      throw named(error, `interleaving seed ${seed}`);
    }
  }
}

/** The same error, whose message says the seed; reporters print the stack, which begins with the message. */
function named(error: unknown, seed: string): unknown {
  if (!(error instanceof Error)) return new Error(`${seed}: ${String(error)}`, { cause: error });
  const { message, stack } = error;
  if (new RegExp(`${seed}\\b`).test(message)) return error;
  error.message = `${seed}: ${message}`;
  if (stack !== undefined) error.stack = stack.replace(message, () => error.message);
  return error;
}
