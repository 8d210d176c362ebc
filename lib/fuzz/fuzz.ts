import type { NoPromise } from "../devices/handlers.ts";
import { HostError } from "../ffi/errors.ts";
import { permittedEnvironment } from "../guest/cache_folder.ts";
import { atCaller } from "../guest/call_site.ts";
import { KvmError } from "../kvm/errors.ts";
import { inputsOf, Machine } from "../machine/machine.ts";
import { inputText } from "../machine/snapshot/inputs.ts";
import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { SplitMix32 } from "../x86/split_mix.ts";
import { Corpus } from "./corpus.ts";
import { minimise, mutate } from "./mutate.ts";

/** What a target is fuzzed with. */
export interface FuzzOptions {
  /** Inputs to begin with, at least one: what the guest is known to take. */
  readonly seeds: readonly Uint8Array[];
  /** How many bytes an input has at most: the size of the guest's buffer. */
  readonly maxLength: number;
  /**
   * The folder where inputs are kept that led somewhere new, and in its folder `failures` those that have failed. All of
   * them are tried first, each time. Default: none are kept.
   */
  readonly corpus?: string | URL;
  /** Words that mean something to the guest, beside the numbers and texts in its own source. */
  readonly dictionary?: readonly (string | Uint8Array)[];
  /** How many inputs to try beyond those that are there. Default 0, or what `vmexit fuzz --runs` says. */
  readonly runs?: number;
  /** When to end, in seconds, whatever `runs` says. Default never, or what `vmexit fuzz --time` says. */
  readonly time?: number;
  /** What inputs follow from. Default 0, or what `vmexit fuzz --seed` says. */
  readonly seed?: number;
}

/** An input that fails, and how. */
export interface FuzzFailure {
  /** The smallest that was found that fails so. */
  readonly input: Uint8Array<ArrayBuffer>;
  /** Its file, where it is kept. */
  readonly path: string | undefined;
  /** What the target threw. */
  readonly error: unknown;
  /** Kind and place, by which failures are told apart. */
  readonly what: string;
}

/** What a fuzzed target has shown. */
export interface FuzzResult {
  /** How many inputs were tried, those included that make failures smaller. */
  readonly runs: number;
  /** The inputs that led somewhere new, or were there. */
  readonly inputs: number;
  /** How many of the guest's lines were executed; undefined where it is not noted. */
  readonly reached: number | undefined;
  /** How long it took, in seconds. */
  readonly seconds: number;
  /** The failures, each of a kind and place of its own. */
  readonly failures: readonly FuzzFailure[];
}

/** A target has failed of some inputs: the message has each with its error. */
export class FuzzError extends Error {
  /** The name that reporters print. */
  override readonly name = "FuzzError";
  /** What was found. */
  readonly result: FuzzResult;

  /** The error with all failures in its message. */
  constructor(result: FuzzResult) {
    const { failures, runs } = result;
    const told = failures.map(({ input, path, what, error }) =>
      [
        `${what}: ${inputText(input)}${path === undefined ? "" : `, kept as ${path}`}`,
        ...textOf(error).split("\n").map((line) => line === "" ? line : `    ${line}`),
      ].join("\n")
    );
    super([`${failures.length} failures in ${runs} runs`, ...told].join("\n\n"), {
      cause: failures[0].error,
    });
    this.result = result;
  }
}

const NAMES: NamesOf<FuzzOptions> = {
  seeds: "value",
  maxLength: "value",
  corpus: "value",
  dictionary: "value",
  runs: "value",
  time: "value",
  seed: "value",
};

/** The environment variable in which `vmexit fuzz` says how long to try: `runs=10000 time=60 seed=1`. */
export const FUZZ_VARIABLE = "VMEXIT_FUZZ";

/** A target, or a test, that is wrong itself: none of these can come of an input. */
const NOT_OF_THE_GUEST = [TypeError, RangeError, ReferenceError, SyntaxError, KvmError, HostError];

/** The environment variable with the file to which `vmexit fuzz` has each hunt add a line. */
export const FUZZ_REPORT_VARIABLE = "VMEXIT_FUZZ_REPORT";

/** How often a failure is tried in a smaller form; each of a guest that hangs takes its whole time limit. */
const SMALLER_ATTEMPTS = 256;
const SMALLER_ATTEMPTS_IN_TIME = 8;

const MILLISECONDS_PER_SECOND = 1000;
const TIME_LIMIT = "TimeLimitError";

/** Numbers and texts in an instruction's source: what it compares with. */
const CONSTANT = /'([^']{1,8})'|"([^"]{1,8})"|\b0x([0-9a-f]{1,8})\b|\b(\d{1,10})\b/gi;

/**
 * Tries a guest with inputs from a corpus, and, when it is asked to, with ever new ones: those that lead the guest where
 * none has led it before (`vm.coverage`) are kept and changed further. The machine is restored before each, to where it
 * stands now.
 *
 * In a plain `deno test` only `seeds` and what is in `corpus` are tried, as a regression test; `vmexit fuzz FILE`, or the
 * option `runs`, hunts. What it finds follows from the seed, as far as the guest's runs do.
 *
 * @param vm The machine, booted with `coverage: true` and a short `timeout`: an input that makes the guest hang takes that
 *   long. With `catchFaults: true` failures have places.
 * @param body Gives the guest the input, runs it, and asserts. What it throws is a failure of that input; each kind and
 *   place is told once, with the smallest input that was found. Errors of the test itself, such as a TypeError, are thrown
 *   at once.
 * @returns What it has shown, where nothing has failed.
 * @throws {FuzzError} When inputs fail.
 * @throws {TypeError} When there are no seeds, the machine was booted without `coverage` and is to be hunted in, `body`
 *   does not run the guest, or an option is of another type.
 * @throws {RangeError} When an input is longer than `maxLength`, or a number is none.
 * @throws {Error} When the corpus cannot be read or written.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, fuzz } from "@vmexit/vmexit";
 *
 * Deno.test("the parser takes any line", () => {
 *   using vm = boot(asm`
 *     mov si, line
 *   next:
 *     lodsb
 *     cmp al, 10
 *     jne next
 *     hlt
 *   line: times 17 db 10
 *   `, { coverage: true, timeout: 50 });
 *   fuzz(vm, (input) => {
 *     vm.memory.write("line", input);
 *     vm.run();
 *     expect(vm).toBeHalted();
 *   }, { seeds: [new TextEncoder().encode("help\n")], maxLength: 16 });
 * });
 * ```
 */
export function fuzz(
  vm: Machine,
  body: (input: Uint8Array<ArrayBuffer>) => NoPromise,
  options: FuzzOptions,
): FuzzResult {
  return atCaller(fuzz, () => {
    const result = new Hunt(vm, body, checked(vm, body, options)).run();
    if (result.failures.length > 0) throw new FuzzError(result);
    return result;
  });
}

/** Options without gaps. */
interface Settings extends FuzzOptions {
  readonly runs: number;
  readonly time: number;
  readonly seed: number;
}

function checked(vm: unknown, body: unknown, options: FuzzOptions): Settings {
  checkOptions("fuzz", options, NAMES);
  if (!(vm instanceof Machine)) {
    throw new TypeError(`Cannot fuzz ${vm}: give a machine, as boot() returns it`);
  }
  if (typeof body !== "function") {
    throw new TypeError(
      `Cannot fuzz ${typeof body}: give a function that gives the guest its input, runs it and asserts`,
    );
  }
  const settings = { runs: 0, time: Infinity, seed: 0, ...options, ...asked() };
  const { seeds, maxLength, dictionary = [], runs, time, seed } = settings;
  if (!Array.isArray(seeds) || seeds.length === 0) {
    throw new TypeError(
      "Cannot fuzz without seeds: give at least one input that the guest is known to take",
    );
  }
  for (const [name, value] of Object.entries({ maxLength, runs, seed })) {
    if (Number.isSafeInteger(value) && value >= 0) continue;
    throw new RangeError(
      `Cannot fuzz with ${name} ${String(value)}: it is no whole number from 0 on`,
    );
  }
  if (!(time > 0)) {
    throw new RangeError(`Cannot fuzz for ${String(time)} seconds: give more than 0`);
  }
  for (const input of seeds) {
    if (!(input instanceof Uint8Array)) {
      throw new TypeError(
        `Cannot fuzz with a seed of type ${typeof input}: give bytes, such as new TextEncoder().encode("help")`,
      );
    }
    checkLength(input, maxLength, "a seed");
  }
  if (!Array.isArray(dictionary)) {
    throw new TypeError(`Cannot fuzz with words of type ${typeof dictionary}: give a list`);
  }
  for (const word of dictionary) {
    if (typeof word === "string" || word instanceof Uint8Array) continue;
    throw new TypeError(`Cannot fuzz with a word of type ${typeof word}: give a text or bytes`);
  }
  return settings;
}

function checkLength({ length }: Uint8Array, maxLength: number, what: string): void {
  if (length <= maxLength) return;
  throw new RangeError(
    `Cannot try ${what}: it has ${length} bytes, and the guest's buffer (maxLength) ${maxLength}`,
  );
}

/** What `vmexit fuzz` asks for. */
function asked(): Partial<Pick<Settings, "runs" | "time" | "seed">> {
  const text = permittedEnvironment(FUZZ_VARIABLE);
  if (text === undefined) return {};
  const asked = Object.fromEntries(
    text.split(" ").map((each) => each.split("=")).map(([name, value]) => [name, Number(value)]),
  );
  return { ...asked.time === undefined ? {} : { runs: Number.MAX_SAFE_INTEGER }, ...asked };
}

/** One target that is fuzzed. */
class Hunt {
  readonly #vm: Machine;
  readonly #body: (input: Uint8Array<ArrayBuffer>) => NoPromise;
  readonly #settings: Settings;
  readonly #corpus: Corpus;
  readonly #random: SplitMix32;
  readonly #inputs: Uint8Array<ArrayBuffer>[] = [];
  readonly #failures = new Map<string, FuzzFailure>();
  readonly #attempt: (input: Uint8Array<ArrayBuffer>) => { readonly error: unknown } | undefined;
  #runs = 0;

  constructor(
    vm: Machine,
    body: (input: Uint8Array<ArrayBuffer>) => NoPromise,
    settings: Settings,
  ) {
    this.#vm = vm;
    this.#body = body;
    this.#settings = settings;
    this.#corpus = new Corpus(settings.corpus);
    this.#random = new SplitMix32(settings.seed);
    const start = vm.snapshot();
    const inputs = inputsOf(vm);
    this.#attempt = (input) => {
      this.#runs++;
      try {
        inputs.attempt(start, () => this.#body(input.slice()));
        return undefined;
      } catch (error) {
        if (NOT_OF_THE_GUEST.some((kind) => error instanceof kind)) throw error;
        return { error };
      }
    };
  }

  run(): FuzzResult {
    const { seeds, runs, time } = this.#settings;
    const began = performance.now();
    const seconds = () => (performance.now() - began) / MILLISECONDS_PER_SECOND;
    const coverage = runs > 0 ? this.#vm.coverage : undefined;
    if (runs > 0) this.#corpus.prepare();
    for (const seed of seeds) this.#tryKnown(new Uint8Array(seed), "a seed");
    for (const { path, input } of this.#corpus.files()) this.#tryKnown(input, path, path);
    const sources = {
      maxLength: this.#settings.maxLength,
      dictionary: runs > 0 ? this.#dictionary() : [],
      other: () => this.#inputs[this.#random.below(this.#inputs.length)],
    };
    const hunted = this.#runs + runs;
    while (this.#runs < hunted && this.#inputs.length > 0 && seconds() < time) {
      const before = coverage!.reached;
      const input = mutate(this.#choice(), this.#random, sources);
      const failure = this.#attempt(input);
      if (failure !== undefined) this.#noteNew(input, failure.error);
      else if (coverage!.reached > before) {
        this.#inputs.push(input);
        this.#corpus.keep(input, false);
      }
    }
    const result = {
      runs: this.#runs,
      inputs: this.#inputs.length,
      reached: coverage?.reached,
      seconds: seconds(),
      failures: [...this.#failures.values()],
    };
    if (coverage !== undefined) report(summary(result, coverage.lines.length));
    return result;
  }

  /** One of the inputs; half of the time one of the latest quarter. */
  #choice(): Uint8Array<ArrayBuffer> {
    const { length } = this.#inputs;
    const isLate = this.#random.below(2) === 1;
    const from = isLate ? Math.floor(length * 3 / 4) : 0;
    return this.#inputs[from + this.#random.below(length - from)];
  }

  #tryKnown(input: Uint8Array<ArrayBuffer>, name: string, path?: string): void {
    checkLength(input, this.#settings.maxLength, name);
    const failure = this.#attempt(input);
    if (failure === undefined) return void this.#inputs.push(input);
    const what = this.#whatFailed(failure.error);
    if (!this.#failures.has(what)) this.#failures.set(what, { input, path, what, ...failure });
  }

  #noteNew(input: Uint8Array<ArrayBuffer>, first: unknown): void {
    const what = this.#whatFailed(first);
    if (this.#failures.has(what)) return;
    let error = first;
    const attempts = what === TIME_LIMIT ? SMALLER_ATTEMPTS_IN_TIME : SMALLER_ATTEMPTS;
    const smallest = minimise(input, (candidate) => {
      const failure = this.#attempt(candidate);
      if (failure === undefined || this.#whatFailed(failure.error) !== what) return false;
      error = failure.error;
      return true;
    }, attempts);
    const path = this.#corpus.keep(smallest, true);
    this.#failures.set(what, { input: smallest, path, what, error });
  }

  /** Kind and place. A guest that hangs is stopped anywhere. */
  #whatFailed(error: unknown): string {
    const kind = error instanceof Error ? error.name : typeof error;
    if (kind === TIME_LIMIT) return kind;
    const { lastExit, registers } = this.#vm;
    return `${kind} at 0x${registers.rip.toString(16)}, ${lastExit?.reason ?? "no exit"}`;
  }

  /** What the guest's own source has in it, and what the author has added. */
  #dictionary(): Uint8Array[] {
    const words = (this.#settings.dictionary ?? []).map((word) =>
      typeof word === "string" ? new TextEncoder().encode(word) : word
    );
    for (const { text } of this.#vm.coverage.lines) {
      for (const [, single, double, hex, decimal] of text.matchAll(CONSTANT)) {
        const quoted = single ?? double;
        words.push(
          quoted !== undefined
            ? new TextEncoder().encode(quoted)
            : littleEndian(BigInt(hex === undefined ? decimal : `0x${hex}`)),
        );
      }
    }
    return words.filter(({ length }) => length > 0 && length <= this.#settings.maxLength);
  }
}

const BYTE_BITS = 8n;
const BYTE = 0xffn;

/** As few bytes as hold a number. */
function littleEndian(number: bigint): Uint8Array {
  const bytes: number[] = [];
  for (let rest = number; bytes.length === 0 || rest > 0n; rest >>= BYTE_BITS) {
    bytes.push(Number(rest & BYTE));
  }
  return new Uint8Array(bytes);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Tells the command what a hunt came to: a test's own output is not the library's to write to. */
function report(line: string): void {
  const path = permittedEnvironment(FUZZ_REPORT_VARIABLE);
  if (path !== undefined) Deno.writeTextFileSync(path, `${line}\n`, { append: true });
}

function summary({ runs, seconds, inputs, reached, failures }: FuzzResult, lines: number): string {
  return `${runs} runs in ${seconds.toFixed(1)} s (${Math.round(runs / seconds)} a second), ` +
    `${inputs} inputs, ${reached} of ${lines} lines, ${failures.length} failures`;
}
