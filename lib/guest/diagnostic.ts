import { permitted } from "./cache_folder.ts";

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

const LINE_DIRECTIVE = /^%line (\d+)\+1 (.*)$/;

/** The directive after which the next line counts as `line` of `file`. */
export function lineDirective(file: string, line: number): string {
  return `%line ${line - 1}+1 ${file}\n`;
}

/**
 * The source line at `file`:`line`: out of a text with {@linkcode lineDirective}s, else out of the file (one that
 * the text includes) where that may be read without asking.
 */
export function sourceText(text: string, file: string, line: number): string | undefined {
  return composedLine(text, file, line) ?? fileLine(file, line);
}

function composedLine(text: string, file: string, line: number): string | undefined {
  let here = { file: "", line: 0 };
  for (const row of text.split("\n")) {
    const directive = LINE_DIRECTIVE.exec(row);
    if (directive !== null) {
      here = { file: directive[2], line: Number(directive[1]) };
      continue;
    }
    here.line++;
    if (here.line === line && here.file === file) return row;
  }
  return undefined;
}

function fileLine(file: string, line: number): string | undefined {
  if (!file.startsWith("/") || !permitted(file, "read")) return undefined;
  try {
    return Deno.readTextFileSync(file).split(/\r?\n/)[line - 1];
  } catch {
    // The message has its place all the same.
    return undefined;
  }
}

const OTHER_WIDTH = /not supported in (16|32)-bit mode/;
const WIDTH_REMEDY =
  "Say how wide the code is: write `bits 32` or `bits 64` at its start, or give boot its `mode`.";

/**
 * NASM refused a source. The message shows each of NASM's with its place in the TypeScript or `.asm` file and
 * the source line.
 */
export class AssemblyError extends Error {
  /** The name that reporters print. */
  override readonly name = "AssemblyError";
  /** What NASM said, in its order. */
  readonly diagnostics: readonly Diagnostic[];

  /** Puts what NASM said, one diagnostic at least, into the message. */
  constructor(diagnostics: readonly Diagnostic[]) {
    const errors = diagnostics.filter((diagnostic) => diagnostic.severity === "error").length;
    const count = errors === 0
      ? "NASM warns, and warnings are errors here"
      : `NASM found ${errors === 1 ? "an error" : `${errors} errors`}`;
    const lines = diagnostics.map(formatDiagnostic);
    // NASM names the width, and a newcomer to it does not know what sets that.
    if (diagnostics.some(({ message }) => OTHER_WIDTH.test(message))) lines.push(WIDTH_REMEDY);
    super(`Cannot assemble: ${count}\n${lines.join("\n")}`);
    this.diagnostics = diagnostics;
  }
}
