import { AsmSource } from "./asm_source.ts";
import type { CallSite } from "./call_site.ts";
import { lineDirective } from "./source_text.ts";

/** What may stand before a spliced source on its line: nothing, or a label. */
const BEFORE_SPLICE = /(?:^|\n)[ \t]*(?:[\w.$?@#~]+:[ \t]*)?$/;
/** What may stand behind it: nothing, or a comment. */
const BEHIND_SPLICE = /^[ \t]*(?:;[^\n]*)?(?:\n|$)/;
const BLOCK_START = /^[ \t]*%(?:i?r?macro|rep)\b/gim;
const BLOCK_END = /^[ \t]*%end(?:macro|m|rep)\b/gim;

/**
 * Checks how a literal's parts fit together, and gives what puts them together into NASM text whose every line counts
 * as the line of the file that it was written on.
 *
 * @param raw The template's parts, unescaped.
 * @param lines The line breaks inside each interpolation.
 * @param values What is interpolated, as text or as a source.
 * @throws {TypeError} When a source is interpolated inside a line or a block.
 */
export function composeLiteral(
  site: CallSite,
  raw: readonly string[],
  lines: readonly number[],
  values: readonly (string | AsmSource)[],
): () => string {
  let line = site.line;
  let written = lineDirective(site.file, site.line) + raw[0];
  const pieces: (string | AsmSource)[] = [];
  for (const [index, value] of values.entries()) {
    line += lineBreaks(raw[index]);
    const behind = raw[index + 1];
    if (value instanceof AsmSource) {
      const before = raw[index];
      const where = `interpolation ${index + 1} (${site.file}:${line})`;
      const alone = (index === 0 || before.includes("\n")) && BEFORE_SPLICE.test(before) &&
        (index === values.length - 1 || behind.includes("\n")) && BEHIND_SPLICE.test(behind);
      if (!alone) throw notAlone(where);
      checkOutsideBlocks(raw.slice(0, index + 1), where);
      line += lines[index];
      pieces.push(`${written}\n`, value);
      written = lineDirective(site.file, line) + behind;
    } else {
      line += lines[index];
      // A continued line counts as many lines as it has: those that the interpolation took in the file.
      written += value + "\\\n".repeat(lines[index]) + behind;
    }
  }
  pieces.push(`${written}\n`);
  return () => pieces.map((piece) => piece instanceof AsmSource ? piece.text : piece).join("");
}

function notAlone(where: string): TypeError {
  return new TypeError(
    `Cannot put an asm literal inside a line: ${where} must stand on a line of its own, at most with a label ` +
      "before it and a comment behind it",
  );
}

function checkOutsideBlocks(before: readonly string[], where: string): void {
  const text = before.join("");
  const open = (text.match(BLOCK_START)?.length ?? 0) - (text.match(BLOCK_END)?.length ?? 0);
  if (open <= 0) return;
  throw new TypeError(
    `Cannot put an asm literal inside a %macro or %rep: NASM would lose count of the lines at ${where}. Write the ` +
      "block inside that literal, or interpolate the literal as often as it is needed",
  );
}

const lineBreaks = (text: string) => text.split("\n").length - 1;
