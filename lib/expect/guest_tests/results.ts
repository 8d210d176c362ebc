/** A test that a guest has run. */
export interface GuestTest {
  /** Its name. */
  readonly name: string;
  /** Why it was not run, where it was skipped. */
  readonly skipped?: string;
  /** What failed in it, a text each. Empty where it passed. */
  readonly failures: readonly string[];
}

/** What a guest has said of its tests. */
export interface GuestResults {
  /** Its tests, in order. */
  readonly tests: readonly GuestTest[];
  /** Why these are not all, or not to be trusted; undefined where they are. */
  readonly flaw: string | undefined;
}

const PLAN = /^1\.\.(\d+)(?:\s*#\s*skip\b\s*(.*))?$/i;
const RESULT = /^(not )?ok\b(?:\s+(\d+))?(?:\s+-)?\s*(.*)$/;
const DIRECTIVE = /^(.*?)\s*#\s*(skip|todo)\b\s*(.*)$/i;
const BAIL_OUT = /^Bail out!\s*(.*)$/i;
const ANY = /^(?:K?TAP version \d+|1\.\.\d+|(?:not )?ok \d+)/m;

/** What the kernel's console puts before a line: `<6>`, `[    0.123456] `, with the caller `[    0.1][    T1] `. */
const CONSOLE_PREFIX = /^(?:<\d>)?(?:\[\s*\d+\.\d+(?:@\d+)?\](?:\[\s*[TC]\d+\])?\s?)?/;

const COMMENT = "#";

/** Subtests are indented by four spaces (TAP 14), or by two (KTAP), each level more than that around it. */
const INDENT = /^ {2,}/;

/**
 * Reads results in the Test Anything Protocol (TAP 12 to 14) or the kernel's (KTAP 1), which may stand between other
 * lines of a console. Subtests count as tests of their own, in the place of their parent.
 *
 * A plan that is missing or does not fit, numbers out of order and `Bail out!` are flaws.
 */
export function readTap(text: string): GuestResults {
  return readBlock(linesOf(text), "");
}

/** Whether a text has results in it. */
export function hasTap(text: string): boolean {
  return ANY.test(linesOf(text).join("\n"));
}

function linesOf(text: string): string[] {
  return text.replaceAll("\r", "").split("\n").map((line) => line.replace(CONSOLE_PREFIX, ""));
}

function readBlock(lines: readonly string[], prefix: string): GuestResults {
  const tests: GuestTest[] = [];
  let plan: number | undefined;
  let count = 0;
  let flaw: string | undefined;
  let nested: string[] = [];
  let notes: string[] = [];
  let isNumbered: boolean | undefined;
  for (const line of lines) {
    const planned = PLAN.exec(line);
    const result = RESULT.exec(line);
    const bail = BAIL_OUT.exec(line);
    if (INDENT.test(line)) nested.push(line);
    else if (bail !== null) {
      return { tests, flaw: `the guest gave up: ${bail[1] || "Bail out!"}` };
    } else if (planned !== null) {
      if (plan !== undefined) flaw ??= "there are two plans";
      plan = Number(planned[1]);
      if (plan === 0 && planned[2] !== undefined) {
        tests.push({ name: `${prefix}all tests`, skipped: planned[2], failures: [] });
      }
    } else if (result !== null) {
      const [, not, number, rest] = result;
      count++;
      // A line of a console's that happens to begin so must not stand for a test that is missing.
      isNumbered ??= number !== undefined;
      if (isNumbered !== (number !== undefined)) {
        flaw ??= `some results have a number, and "${line}" is not like them`;
      }
      if (number !== undefined && Number(number) !== count) {
        flaw ??= `test ${number} came in the place of test ${count}`;
      }
      const directive = DIRECTIVE.exec(rest);
      const name = prefix + ((directive?.[1] ?? rest).trim() || `test ${count}`);
      const block = unindented(nested);
      const within = block.some((each) => ANY.test(each))
        ? readBlock(block, `${name} › `)
        : undefined;
      tests.push(...within?.tests ?? []);
      if (within?.flaw !== undefined) flaw ??= `${within.flaw}, in ${name}`;
      // What is still to do may fail; what was skipped has not.
      const failed = not !== undefined && directive?.[2].toLowerCase() !== "todo";
      const isTold = within?.tests.some(({ failures }) => failures.length > 0) === true;
      if (within === undefined || within.tests.length === 0 || (failed && !isTold)) {
        tests.push({
          name,
          failures: failed ? [["not ok", ...notes].join("\n")] : [],
          ...directive === null
            ? {}
            : { skipped: `${directive[2].toUpperCase()} ${directive[3]}`.trim() },
        });
      }
      nested = [];
      notes = [];
    } else if (line.startsWith(COMMENT)) notes.push(line.slice(COMMENT.length).trim());
  }
  if (plan === undefined) flaw ??= "there is no plan (1..N): whether these are all is not known";
  else if (plan !== count) flaw ??= `${plan} tests were planned, and ${count} have a result`;
  if (nested.some((line) => RESULT.test(line.trimStart()))) {
    flaw ??= "a subtest has no result of its parent behind it";
  }
  return { tests, flaw };
}

/** The lines of subtests by themselves: what the least indented one has before it is taken from all. */
function unindented(lines: readonly string[]): string[] {
  const indent = Math.min(...lines.map((line) => line.length - line.trimStart().length));
  return lines.map((line) => line.slice(indent));
}
