/** How many tests came out how. */
export interface Counts {
  /** Tests that passed. */
  passed: number;
  /** Tests that failed. */
  failed: number;
  /** Tests that were not run. */
  skipped: number;
}

interface Case {
  name: string;
  /** Undefined for a test that a filter left out: Deno writes it as skipped, but without a time. */
  outcome?: keyof Counts;
}

function unescape(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(\w+);/g, (whole, name: string) => entities[name] ?? whole);
}

function casesOf(suite: string): Case[] {
  const cases = suite.matchAll(/<testcase name="([^"]*)"([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g);
  return [...cases].map(([, name, attributes, body = ""]) => ({
    name: unescape(name),
    outcome: /<(failure|error)[\s>]/.test(body)
      ? "failed"
      : /<skipped[\s/>]/.test(body)
      ? (attributes.includes(" time=") ? "skipped" : undefined)
      : "passed",
  }));
}

/**
 * Counts the tests of a JUnit report that `deno test` wrote. Steps are not counted: Deno writes them as `test > step`
 * beside their test.
 *
 * @param xml The report.
 */
export function countTests(xml: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [suite] of xml.matchAll(/<testsuite [\s\S]*?<\/testsuite>/g)) {
    const cases = casesOf(suite);
    const names = new Set(cases.map(({ name }) => name));
    for (const { name, outcome } of cases) {
      const words = name.split(" > ");
      const isStep = words.some((_, end) => end > 0 && names.has(words.slice(0, end).join(" > ")));
      if (!isStep && outcome !== undefined) counts[outcome]++;
    }
  }
  return counts;
}

/**
 * How a test run ended, as its last lines: how many tests were skipped, where some were, and how many passed and
 * failed.
 *
 * @example
 * ```ts
 * import { summary } from "./junit.ts";
 *
 * console.log(summary({ passed: 3, failed: 0, skipped: 1 })); // "1 skipped\n3 passed, 0 failed"
 * ```
 */
export function summary({ passed, failed, skipped }: Counts): string {
  const verdict = `${passed} passed, ${failed} failed`;
  return skipped > 0 ? `${skipped} skipped\n${verdict}` : verdict;
}

/** How `deno test` colours its output (ECMA-48, SGR). */
// deno-lint-ignore no-control-regex
const COLOURS = /\x1b\[[\d;]*m/g;

/** A test's line, with or without its outcome; a step's line is indented. */
const TEST_LINE = /^(\S.*?) \.\.\.(?:.* \.\.\.)? ?(?:(ok|FAILED|cancelled|ignored)\b.*)?$/;
const OUTCOME: Readonly<Record<string, keyof Counts>> = {
  ok: "passed",
  FAILED: "failed",
  cancelled: "failed",
  ignored: "skipped",
};

/**
 * Reads along what `deno test` prints, so that something can be said of tests whose machine dies under them: by then
 * they have written no report. It knows the form that Deno prints unless told otherwise.
 */
export class TestProgress {
  readonly #decoder = new TextDecoder();
  readonly #counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  #rest = "";
  #running?: string;

  /** Takes the next bytes of standard output. */
  hear(chunk: Uint8Array): void {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const lines = text.split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#read(line);
  }

  #read(line: string): void {
    const found = TEST_LINE.exec(line.replaceAll(COLOURS, "").trimEnd());
    if (found === null) return;
    const [, name, outcome] = found;
    this.#running = outcome === undefined ? name : undefined;
    if (outcome !== undefined) this.#counts[OUTCOME[outcome]]++;
  }

  /** The name of the test that was running when the output ended, if it ended in a test. */
  get running(): string | undefined {
    this.#read(this.#rest);
    this.#rest = "";
    return this.#running;
  }

  /** How the tests came out that have come out. */
  get counts(): Counts {
    return { ...this.#counts };
  }
}
