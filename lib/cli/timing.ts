import { TIMED, type TimeSpent } from "../guest/time_spent.ts";
import { timedTests, wholeSeconds } from "./junit.ts";

/** How many of the slowest files and tests are listed. */
const LISTED = 10;

/** The time of all isolates of a run together; undefined where none has noted any. */
function spentIn(folder: string): TimeSpent | undefined {
  const parts = [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".json"))
    .map(({ name }): TimeSpent => JSON.parse(Deno.readTextFileSync(`${folder}/${name}`)));
  if (parts.length === 0) return undefined;
  const sum = (what: keyof TimeSpent, of: "milliseconds" | "count") =>
    parts.reduce((total, part) => total + part[what][of], 0);
  return Object.fromEntries(
    TIMED.map((what) => [what, {
      milliseconds: sum(what, "milliseconds"),
      count: sum(what, "count"),
    }]),
  ) as TimeSpent;
}

const formatSeconds = (seconds: number) => `${seconds.toFixed(2)} s`.padStart(10);

function slowest(what: string, all: ReadonlyMap<string, number>): string[] {
  const sorted = [...all].sort(([, one], [, other]) => other - one).slice(0, LISTED);
  return [what, ...sorted.map(([name, seconds]) => `${formatSeconds(seconds)}  ${name}`)];
}

/** How many tests a run made in a second, by its report; undefined where it made none. */
export function testsPerSecond(report: string): number | undefined {
  const seconds = wholeSeconds(report);
  const { length } = timedTests(report);
  return length === 0 || seconds === 0 ? undefined : length / seconds;
}

/**
 * How many tests a run made in a second and, where that is wanted, where its time went. Several threads of
 * `deno test --parallel` spend more together than passes.
 *
 * @param report The run's report by JUnit.
 * @param folder Where its isolates have noted where their time went; undefined where that is not wanted.
 * @returns Lines; none where no test ran.
 */
export function timing(report: string, folder: string | undefined): string {
  const rate = testsPerSecond(report);
  if (rate === undefined) return "";
  const lines: string[] = [];
  if (folder !== undefined) {
    const tests = timedTests(report);
    const files = new Map<string, number>();
    for (const { file, seconds } of tests) files.set(file, (files.get(file) ?? 0) + seconds);
    const names = new Map(tests.map(({ file, name, seconds }) => [`${name} (${file})`, seconds]));
    const spent = spentIn(folder);
    lines.push(
      ...slowest("slowest files, by their tests", files),
      ...slowest("slowest tests", names),
      "where the time went",
      `${formatSeconds([...files.values()].reduce((sum, each) => sum + each, 0))}  in tests`,
      ...TIMED.flatMap((what) =>
        spent === undefined
          ? []
          : `${formatSeconds(spent[what].milliseconds / 1000)}    ${what}, ${
            spent[what].count
          } times`
      ),
      `${formatSeconds(wholeSeconds(report))}  in all`,
    );
  }
  lines.push(`${rate.toFixed(1)} tests per second`);
  return lines.map((line) => `${line}\n`).join("");
}
