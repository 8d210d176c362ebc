import { permitted } from "./cache_folder.ts";

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
