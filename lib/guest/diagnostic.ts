/** Something that NASM says of a source. */
export interface Diagnostic {
  /** The file it is about: a path, or the URL of a module that is no local file. */
  readonly file: string;
  /** The line in that file, from 1; 0 where NASM names none. */
  readonly line: number;
  /** How bad it is. A note explains the one before it. */
  readonly severity: "error" | "warning" | "note";
  /** What it is, in NASM's words. */
  readonly message: string;
  /** The source line, where it is known. */
  readonly text?: string;
}

const WITH_PLACE = /^(.+?):(\d+): (?:([a-z]+): )?(.*)$/;
const WITHOUT_PLACE = /^nasm: (?:([a-z]+): )?(.*)$/;
const NOTES = new Set(["info", "note", "debug"]);

/** Reads NASM's messages, as it writes them with its default `-Xgnu`. The source lines are not in them. */
export function parseDiagnostics(output: string): Diagnostic[] {
  return output.split("\n").filter((row) => row.trim() !== "").map(parseRow);
}

function parseRow(row: string): Diagnostic {
  const placed = WITH_PLACE.exec(row);
  if (placed !== null) {
    const [, file, line, word, message] = placed;
    return { file, line: Number(line), severity: severityOf(word, message), message };
  }
  const [, word, message] = WITHOUT_PLACE.exec(row) ?? [row, undefined, row];
  return { file: "", line: 0, severity: severityOf(word, message), message };
}

function severityOf(word: string | undefined, message: string): Diagnostic["severity"] {
  if (word === "warning") return "warning";
  // "... from macro `name' defined here" follows a message from inside a macro, without a word of its own.
  if (message.startsWith("... ") || (word !== undefined && NOTES.has(word))) return "note";
  return "error";
}

const NAME_IN_MESSAGE = /[`'"]([^`'"]+)['"]/;

/**
 * A diagnostic for people: its place and message, the source line, and a mark below the part that NASM names,
 * or below the start of the line.
 *
 * @example
 * ```ts
 * import { formatDiagnostic } from "./diagnostic.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const text = formatDiagnostic({
 *   file: "boot.asm",
 *   line: 3,
 *   severity: "error",
 *   message: "symbol `mesage' not defined",
 *   text: "  mov si, mesage",
 * });
 * assertEquals(text.split("\n"), [
 *   "boot.asm:3: error: symbol `mesage' not defined",
 *   "      mov si, mesage",
 *   "              ^^^^^^",
 * ]);
 * ```
 */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, severity, message, text } = diagnostic;
  const place = line === 0 ? "nasm" : `${file}:${line}`;
  const first = `${place}: ${severity}: ${message}`;
  if (text === undefined || text.trim() === "") return first;
  const name = NAME_IN_MESSAGE.exec(message)?.[1];
  const at = name === undefined ? -1 : text.indexOf(name);
  const start = at >= 0 ? at : text.search(/\S/);
  const marked = at >= 0 ? name!.length : 1;
  // A tab before the mark stays a tab, or the mark would stand elsewhere than what it marks.
  const margin = text.slice(0, start).replace(/[^\t]/g, " ");
  return `${first}\n    ${text.trimEnd()}\n    ${margin}${"^".repeat(marked)}`;
}
