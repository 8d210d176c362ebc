import { permitted } from "./cache_folder.ts";
import type { CallSite } from "./call_site.ts";

/** A module's text does not change while it runs. */
const modules: Map<string, string | undefined> = new Map();

/**
 * How many line breaks stand inside each interpolation of a template (`${` to `}`), which a tag is not told. They are
 * read from the module where that is permitted without asking; elsewhere they count as none, and the lines after an
 * interpolation of several lines are reported too early.
 *
 * @param raw The template's parts, as written.
 */
export function interpolationLines(site: CallSite, raw: readonly string[]): number[] {
  const none = raw.slice(1).map(() => 0);
  if (none.length === 0 || site.folder === undefined) return none;
  const text = moduleText(site.file);
  return text === undefined ? none : measure(text, site, raw) ?? none;
}

function moduleText(file: string): string | undefined {
  if (!modules.has(file)) modules.set(file, readModule(file));
  return modules.get(file);
}

function readModule(file: string): string | undefined {
  if (!permitted(file, "read")) return undefined;
  try {
    // As JavaScript does for the parts of a template.
    return Deno.readTextFileSync(file).replaceAll("\r\n", "\n");
  } catch {
    return undefined;
  }
}

/** Undefined when the template is not found there: the file was edited since, or the position is not exact. */
function measure(text: string, site: CallSite, raw: readonly string[]): number[] | undefined {
  let start = 0;
  for (let line = 1; line < site.line; line++) {
    start = text.indexOf("\n", start) + 1;
    if (start === 0) return undefined;
  }
  const opening = `\`${raw[0]}\${`;
  const at = text.indexOf(opening, start + site.column - 1);
  if (at !== start + site.column - 1) return undefined;
  let position = at + opening.length;
  const lines: number[] = [];
  for (const [index, part] of raw.slice(1).entries()) {
    const closing = `}${part}${index === raw.length - 2 ? "`" : "${"}`;
    const end = text.indexOf(closing, position);
    if (end < 0) return undefined;
    lines.push(text.slice(position, end).split("\n").length - 1);
    position = end + closing.length;
  }
  return lines;
}
