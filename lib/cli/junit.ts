/** How many tests came out how. */
export interface Counts {
  /** Tests that passed. */
  passed: number;
  /** Tests that failed. */
  failed: number;
  /** Tests that were not run. */
  skipped: number;
}

/** A test of a report, and how long it took, in seconds. */
export interface TimedTest {
  /** Its file, as Deno writes it. */
  readonly file: string;
  /** Its name. */
  readonly name: string;
  /** Seconds. */
  readonly seconds: number;
}

interface Case {
  name: string;
  seconds: number;
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
    seconds: secondsOf(attributes),
    outcome: /<(failure|error)[\s>]/.test(body)
      ? "failed"
      : /<skipped[\s/>]/.test(body)
      ? (attributes.includes(" time=") ? "skipped" : undefined)
      : "passed",
  }));
}

function secondsOf(attributes: string): number {
  return Number(/ time="([\d.]+)"/.exec(attributes)?.[1] ?? 0);
}

/** The tests of a report, by file. Steps are left out: Deno writes them as `test > step` beside their test. */
function* testsOf(xml: string): Generator<Case & { readonly file: string }> {
  for (const [suite, file] of xml.matchAll(/<testsuite name="([^"]*)"[\s\S]*?<\/testsuite>/g)) {
    const cases = casesOf(suite);
    const names = new Set(cases.map(({ name }) => name));
    for (const test of cases) {
      const words = test.name.split(" > ");
      const isStep = words.some((_, end) => end > 0 && names.has(words.slice(0, end).join(" > ")));
      if (!isStep) yield { ...test, file: unescape(file) };
    }
  }
}

/**
 * Counts the tests of a JUnit report that `deno test` wrote.
 *
 * @param xml The report.
 */
export function countTests(xml: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { outcome } of testsOf(xml)) if (outcome !== undefined) counts[outcome]++;
  return counts;
}

/** The tests of a report that were run, and how long each took. */
export function timedTests(xml: string): TimedTest[] {
  return [...testsOf(xml)].filter(({ outcome }) => outcome === "passed" || outcome === "failed")
    .map(({ file, name, seconds }) => ({ file, name, seconds }));
}

/** How long a run took by its report, with all that is around its tests, in seconds. */
export function wholeSeconds(xml: string): number {
  return secondsOf(/<testsuites [^>]*>/.exec(xml)?.[0] ?? "");
}

/**
 * How each test of a report came out, by its file and name: `"./boot_test.ts: it boots"`.
 *
 * @param xml The report, as `deno test` wrote it.
 */
export function outcomes(xml: string): Map<string, keyof Counts> {
  const found = new Map<string, keyof Counts>();
  for (const [suite, file] of xml.matchAll(/<testsuite name="([^"]*)"[\s\S]*?<\/testsuite>/g)) {
    for (const { name, outcome } of casesOf(suite)) {
      if (outcome !== undefined) found.set(`${unescape(file)}: ${name}`, outcome);
    }
  }
  return found;
}

/** A test of a report that stands somewhere. */
export interface PlacedTest {
  /** Its name. */
  readonly name: string;
  /** What it has failed with, as Deno prints it; undefined where it has not. */
  readonly failure: string | undefined;
}

/** The tests of a report that begin at a line, or at the nearest one above: a loop may make several. */
export function testsByLine(xml: string): (file: string, line: number) => readonly PlacedTest[] {
  const CASE =
    /<testcase name="([^"]*)" classname="([^"]*)"[^>]*? line="(\d+)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;
  const files = new Map<string, Map<number, PlacedTest[]>>();
  for (const [, name, classname, line, body = ""] of xml.matchAll(CASE)) {
    const file = unescape(classname);
    const lines = files.get(file) ?? new Map<number, PlacedTest[]>();
    files.set(file, lines);
    const tests = lines.get(Number(line)) ?? [];
    lines.set(Number(line), tests);
    const [, failure] = /<failure[^>]*>([\s\S]*)<\/failure>/.exec(body) ?? [];
    tests.push({ name: unescape(name), failure: failure && unescape(failure) });
  }
  return (file, line) => {
    const lines = files.get(file) ?? new Map<number, PlacedTest[]>();
    const begin = Math.max(...[...lines.keys()].filter((each) => each <= line));
    return lines.get(begin) ?? [];
  };
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

/** A test of a run that wrote no report, with what came of it. */
interface Finished {
  file: string;
  name: string;
  outcome: keyof Counts;
}

/** Characters that a document of XML 1.0 cannot have, not even as references (its section 2.2). */
// deno-lint-ignore no-control-regex
const NOT_IN_XML = /[\0-\x08\x0b\x0c\x0e-\x1f]/g;

function escape(text: string): string {
  const entities: Record<string, string> = {
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "&": "&amp;",
  };
  return text.replaceAll(NOT_IN_XML, "").replace(/[<>"&]/g, (character) => entities[character]);
}

function caseElement({ file, name, outcome }: Finished, why: string): string {
  const body = {
    passed: "",
    failed: `<failure message="${escape(why)}"></failure>`,
    skipped: "<skipped/>",
  }[outcome];
  // With a time, for which a report of Deno's is the model: without it a skipped test was filtered out.
  return `<testcase name="${escape(name)}" classname="${
    escape(file)
  }" time="0.000">${body}</testcase>`;
}

/** A report in the form of those that `deno test` writes. */
function junitReport(tests: readonly Finished[], why: string): string {
  const files = Map.groupBy(tests, ({ file }) => file);
  const suites = [...files].map(([file, cases]) => {
    const failures = cases.filter(({ outcome }) => outcome === "failed").length;
    const lines = cases.map((each) => `        ${caseElement(each, why)}\n`).join("");
    return `    <testsuite name="${
      escape(file)
    }" tests="${cases.length}" disabled="0" errors="0" failures="${failures}">\n` +
      `${lines}    </testsuite>\n`;
  });
  const failures = tests.filter(({ outcome }) => outcome === "failed").length;
  return `<?xml version="1.0" encoding="UTF-8"?>\n` +
    `<testsuites name="deno test" tests="${tests.length}" failures="${failures}" errors="0" time="0.000">\n` +
    `${suites.join("")}</testsuites>\n`;
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

/** The line above the tests of a file. */
const FILE_LINE = /^running \d+ tests? from (.+)$/;

/**
 * Reads along what `deno test` prints, so that there is a report of tests whose machine dies under them: by then they
 * have written none. It knows the form that Deno prints unless told otherwise.
 */
export class TestProgress {
  readonly #decoder = new TextDecoder();
  readonly #finished: Finished[] = [];
  #file = "deno test";
  #rest = "";
  #running?: string;

  /** Takes the next bytes of standard output. */
  hear(chunk: Uint8Array): void {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const lines = text.split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#read(line);
  }

  #read(text: string): void {
    const line = text.replaceAll(COLOURS, "").trimEnd();
    const file = FILE_LINE.exec(line);
    if (file !== null) this.#file = file[1];
    const found = TEST_LINE.exec(line);
    if (found === null) return;
    const [, name, outcome] = found;
    this.#running = outcome === undefined ? name : undefined;
    if (outcome !== undefined) {
      this.#finished.push({ file: this.#file, name, outcome: OUTCOME[outcome] });
    }
  }

  /** The name of the test that was running when the output ended, if it ended in a test. */
  get running(): string | undefined {
    this.#read(this.#rest);
    this.#rest = "";
    return this.#running;
  }

  /**
   * A JUnit report of the tests that have come out, and of the one under which the run ended, which has failed.
   *
   * @param why What ended the run.
   */
  report(why: string): string {
    const name = this.running ?? "(between two tests)";
    return junitReport([...this.#finished, { file: this.#file, name, outcome: "failed" }], why);
  }
}
