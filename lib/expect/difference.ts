import { contentBytes, type MemoryContent } from "../machine/memory/address_space.ts";
import { escapeText, formatByte, formatCount } from "./format.ts";

/** The columns that an excerpt may take, so that a page with its labels fits 80. */
const WIDTH = 48;
/** How much of that stands before the first difference. */
const BEFORE = 16;

/** Two long things side by side: the same stretch of both, around their first difference. */
export interface Difference {
  /** The stretch of what was expected. */
  readonly expected: string;
  /** The stretch of what there is, in the same columns. */
  readonly received: string;
  /** A line that points at the first difference below `received`, where there is one. */
  readonly mark: string | undefined;
}

interface Form {
  readonly separator: string;
  readonly quote: string;
  readonly unit: string;
}

const TEXT: Form = { separator: "", quote: '"', unit: "character" };
const BYTES: Form = { separator: " ", quote: "", unit: "byte" };

/** Two texts, character by character. */
export function textDifference(expected: string, received: string): Difference {
  return difference([...expected].map(escapeText), [...received].map(escapeText), TEXT);
}

/** Two runs of bytes, in hex. */
export function bytesDifference(expected: Uint8Array, received: Uint8Array): Difference {
  return difference(Array.from(expected, formatByte), Array.from(received, formatByte), BYTES);
}

function difference(expected: string[], received: string[], form: Form): Difference {
  const first = firstDifference(expected, received);
  const start = Math.max(startFor(expected, first, form), startFor(received, first, form));
  const left = excerpt(expected, start, form);
  const right = excerpt(received, start, form);
  if (first === undefined) return { expected: left, received: right, mark: undefined };
  const opening = (start === 0 ? "" : "…") + form.quote;
  const column = opening.length + width(expected.slice(start, first), form);
  return {
    expected: left,
    received: right,
    mark: `${" ".repeat(column)}^ ${form.unit} ${first}`,
  };
}

/** The index of the first difference, or undefined where there is none. */
function firstDifference(expected: string[], received: string[]): number | undefined {
  const length = Math.max(expected.length, received.length);
  for (let index = 0; index < length; index++) {
    if (expected[index] !== received[index]) return index;
  }
  return undefined;
}

/** Where the excerpt of `units` begins, so that `first` is in it. */
function startFor(units: string[], first: number | undefined, form: Form): number {
  if (first === undefined || width(units, form) <= WIDTH) return 0;
  let start = Math.min(first, units.length);
  while (start > 0 && width(units.slice(start - 1, first), form) <= BEFORE) start--;
  return start;
}

function excerpt(units: string[], start: number, form: Form): string {
  let end = start;
  let columns = 0;
  while (end < units.length && columns + units[end].length <= WIDTH) {
    columns += units[end++].length + form.separator.length;
  }
  const shown = units.slice(start, end).join(form.separator);
  const isCut = start > 0 || end < units.length;
  return [
    start === 0 ? "" : "…",
    shown === "" && form.quote === "" && !isCut ? "nothing" : form.quote + shown + form.quote,
    end === units.length ? "" : "…",
    isCut ? ` (${formatCount(units.length, form.unit)})` : "",
  ].join("");
}

function width(units: string[], { separator }: Form): number {
  return units.reduce((sum, unit) => sum + unit.length + separator.length, 0);
}

/**
 * What a test expects beside what there is, in the form that the test chose: text where it gave text, else
 * bytes.
 */
export function contentDifference(expected: MemoryContent, received: Uint8Array): Difference {
  if (typeof expected !== "string") return bytesDifference(contentBytes(expected), received);
  return textDifference(expected, new TextDecoder().decode(received));
}
