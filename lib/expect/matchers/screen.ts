import type { MachineCpu } from "../../machine/machine.ts";
import type { MatcherResult } from "../failure_page.ts";
import { formatText } from "../format.ts";

/** Texts of which a regular expression that says something does not match one. */
const ANY_TEXT = ["", "x\ny", "\u0001"];

/**
 * Compares the text screen.
 *
 * @throws {TypeError} When the machine has none, or it is compared with something else.
 * @throws {RangeError} When every screen would match.
 */
export function matchScreen(
  { machine: { screen } }: MachineCpu,
  expected: string | RegExp | readonly string[],
): MatcherResult {
  const isRows = Array.isArray(expected);
  if (typeof expected !== "string" && !(expected instanceof RegExp) && !isRows) {
    throw new TypeError(
      `Cannot expect a screen to show ${typeof expected}: give a string, a regular expression, or a list of rows`,
    );
  }
  if (isRows && !expected.every((row) => typeof row === "string")) {
    throw new TypeError("Cannot expect a screen to show these rows: each is a string");
  }
  const saysNothing = expected === "" || isRows && expected.length === 0 ||
    expected instanceof RegExp && ANY_TEXT.every((text) => text.search(expected) !== -1);
  if (saysNothing) {
    throw new RangeError(
      `Cannot expect a screen to show ${
        String(expected) || "an empty text"
      }: every screen does. Name what is to be on it; a blank one is [""].`,
    );
  }
  const { text } = screen;
  const wanted = isRows ? expected.map((row) => row.trimEnd()).join("\n").trimEnd() : expected;
  const matches = isRows
    ? text === wanted
    : typeof wanted === "string"
    ? text.includes(wanted)
    : text.search(wanted as RegExp) !== -1;
  const shown = typeof wanted === "string" ? formatText(wanted) : String(wanted);
  return {
    call: `toHaveScreen(${isRows ? JSON.stringify(expected) : shown})`,
    matches,
    isOfRun: true,
    comparisons: () => [{
      what: "screen",
      expected: isRows ? shown : `${shown} in it`,
      received: formatText(text),
      matches,
    }],
    details: () => ["the screen", ...text.split("\n").map((row) => `    │${row}`)].join("\n"),
  };
}
