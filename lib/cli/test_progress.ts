import type { Counts } from "./junit.ts";

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
 * Reads along what `deno test` prints, so that something can be said of tests whose machine dies under them: by then they have written no report. It knows
 * the form that Deno prints unless told otherwise.
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
