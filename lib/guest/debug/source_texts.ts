import { permitted } from "../cache_folder.ts";

/** The lines of source files, each read once. */
export class SourceTexts {
  readonly #files: Map<string, readonly string[]> = new Map();

  /** The text of a line, from 1; undefined where its file cannot be read without asking, or has no such line. */
  at(file: string, line: number): string | undefined {
    const known = this.#files.get(file) ?? linesOfFile(file);
    this.#files.set(file, known);
    return known[line - 1];
  }
}

function linesOfFile(file: string): readonly string[] {
  if (!file.startsWith("/") || !permitted(file, "read")) return [];
  try {
    return Deno.readTextFileSync(file).split(/\r?\n/);
  } catch {
    // It was built elsewhere: its lines have numbers all the same.
    return [];
  }
}
