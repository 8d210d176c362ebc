import type { CodeBits } from "./image_parts.ts";

/** What NASM is to assemble. */
export interface NasmInput {
  /** The text, with `%line` directives that say where it comes from. */
  readonly text: string;
  /** The origin where the text has no `org` of its own. */
  readonly origin: number;
  /** The width of code where the text has no `bits` of its own. */
  readonly bits: CodeBits;
  /** Where `%include` and `incbin` look, in this order. The first is NASM's working directory. */
  readonly folders: readonly string[];
}

/** NASM's options for the files that a text includes. */
export function includeOptions(folders: readonly string[]): string[] {
  // Before 2.14 the slash was needed; it never harms.
  return folders.slice(1).flatMap((folder) => ["-i", `${folder}/`]);
}

/** A path that NASM gives is relative to its working directory; a URL is left as it is. */
export function absolute(file: string, folders: readonly string[]): string {
  const whole = file === "" || file.startsWith("/") || /^[a-z][a-z0-9+.-]*:/i.test(file);
  return whole || folders.length === 0 ? file : `${folders[0]}/${file}`;
}
