import { dirname } from "node:path";
import {
  checkOptions,
  definedEntries,
  type NamesOf,
  type OptionNames,
} from "../x86/defined_entries.ts";
import { AsmSource } from "./asm_source.ts";
import { permitted } from "./cache_folder.ts";
import { atCaller, type CallSite, callSite, checkFileIsThere, localPath } from "./call_site.ts";
import { lineDirective } from "./diagnostic.ts";

/** What NASM source is given from outside. */
export interface AsmOptions {
  /**
   * Macros, by name: what `%define NAME value` before its first line would make them. A string is NASM text of one
   * line; `true` defines the name alone, for `%ifdef`.
   */
  readonly define?: Readonly<Record<string, number | bigint | string | true>>;
}

/** How an `.asm` file is to be read. */
export interface AsmFileOptions extends AsmOptions {
  /** Further folders where `%include` and `incbin` look, after the file's own: paths, or `file:` URLs. */
  readonly include?: readonly (string | URL)[];
}

const ASM_OPTIONS: NamesOf<AsmOptions> = { define: "value" };
const ASM_FILE_OPTIONS: NamesOf<AsmFileOptions> = { ...ASM_OPTIONS, include: "value" };

/** The type of {@linkcode asm}. */
export interface AsmTag {
  /**
   * The tag for source with macros of its own: `` asm({ define: { PORT: 0x80 } })`out PORT, al` ``.
   *
   * @throws {TypeError | RangeError} When a macro's name or value cannot be one.
   */
  (options: AsmOptions): (strings: TemplateStringsArray, ...values: AsmValue[]) => AsmSource;
  /** NASM source as a tagged template. */
  (strings: TemplateStringsArray, ...values: AsmValue[]): AsmSource;
  /**
   * NASM source from a file. It is read when it is assembled, and so are the files that it includes.
   *
   * @param path A path or `file:` URL. A relative one counts from the folder of the module that calls, as an import
   * does.
   * @throws {TypeError} When it is neither, or a macro's name or value cannot be one.
   * @throws {Deno.errors.NotFound} When there is no such file.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm.file("./uart.asm", { define: { BASE: 0x3f8 } }));
   * ```
   */
  file(path: string | URL, options?: AsmFileOptions): AsmSource;
}

/**
 * NASM source, written where it is used. Errors and warnings of NASM name this file and this line.
 *
 * What stands between the backticks reaches NASM as it is written, escapes and line continuations included; only a
 * backtick itself and `${` need a backslash. `%include` looks in the folder of the module. Interpolated may be
 * integers (`number`, `bigint`), names of symbols and registers (`string`), bytes for `db` (`Uint8Array`), and other
 * asm literals, each on a line of its own. Whether it stands alone is decided later: an `org` or `bits` in it holds,
 * else the mode that a machine boots in decides them.
 *
 * @throws {TypeError} When something else is interpolated; the message says which and what to do.
 * @throws {RangeError} When an interpolated integer is wider than 64 bits, or not exact as a `number`.
 *
 * @example
 * ```ts
 * import { asm } from "@vmexit/vmexit";
 * import { assertEquals } from "@std/assert";
 *
 * const port = 0x1000;
 * const greet = asm`
 *     mov dx, ${port}
 *     mov al, 'A'
 *     out dx, al
 * `;
 * const guest = asm`
 *     ${greet}
 *     ${greet}
 *     hlt
 * `;
 * assertEquals(guest.assemble().bytes.length, 13);
 * ```
 */
export const asm: AsmTag = Object.assign(tag as AsmTag, { file: asmFile });

function tag(first: TemplateStringsArray | AsmOptions, ...values: unknown[]) {
  if (Array.isArray(first) && "raw" in first) {
    return atCaller(tag, () => literal(tag, first as unknown as TemplateStringsArray, values, ""));
  }
  return atCaller(tag, () => {
    if (typeof first !== "object" || first === null || Array.isArray(first)) {
      throw new TypeError(
        "Cannot call asm as a function: it is a template tag. Write asm`…`, asm({ define: { … } })`…`, or " +
          "asm.file(path) for a file",
      );
    }
    const definitions = definitionsOf(first as AsmOptions, ASM_OPTIONS);
    return function tagWithMacros(strings: TemplateStringsArray, ...values: AsmValue[]) {
      return atCaller(
        tagWithMacros,
        () => literal(tagWithMacros, strings, values, definitions),
      );
    };
  });
}

/** @param callee The function that is called where the literal stands. */
function literal(
  // deno-lint-ignore ban-types -- captureStackTrace takes any function
  callee: Function,
  strings: TemplateStringsArray,
  values: readonly unknown[],
  definitions: string,
): AsmSource {
  const site = callSite(callee);
  // Only these two need a backslash in a template, and NASM has no use for one before either.
  const raw = strings.raw.map((part) => part.replace(/\\(`|\$\{)/g, "$1"));
  const lines = interpolationLines(site, strings.raw);
  const rendered = values.map((value, index) =>
    interpolate(value, placeOf(site, raw, lines, index))
  );
  const compose = composeLiteral(site, raw, lines, rendered);
  return new AsmSource({
    file: site.file,
    line: site.line,
    folders: unique([
      ...site.folder === undefined ? [] : [site.folder],
      ...rendered.flatMap((value) => value instanceof AsmSource ? value.folders : []),
    ]),
    compose: () => definitions + compose(),
  });
}

/**
 * The `%define` lines for macros that are given from outside.
 *
 * @param known The names of options there are.
 */
function definitionsOf(options: AsmOptions, known: OptionNames): string {
  checkOptions("assemble", options, known);
  return definedEntries("define", options.define ?? {}).map(([name, value]) => {
    if (!IDENTIFIER.test(name) || name.startsWith("$")) {
      throw new TypeError(`Cannot define ${JSON.stringify(name)}: it is no name of a macro`);
    }
    return `%define ${name} ${macroText(name, value)}\n`;
  }).join("");
}

function macroText(name: string, value: unknown): string {
  if (value === true) return "";
  if (typeof value === "string") {
    if (!/[\n\r]|\\$/.test(value)) return value;
    throw new TypeError(
      `Cannot define ${name} as ${JSON.stringify(value)}: a macro's text has one line`,
    );
  }
  const text = interpolate(value, `the macro ${name}`);
  if (typeof value === "number" || typeof value === "bigint") return text as string;
  throw new TypeError(
    `Cannot define ${name} as ${value}: give a whole number, a bigint, NASM text, or true for \`%ifdef\``,
  );
}

function placeOf(
  site: CallSite,
  raw: readonly string[],
  lines: readonly number[],
  index: number,
): string {
  const before = raw.slice(0, index + 1).join("").split("\n").length - 1;
  const inside = lines.slice(0, index).reduce((sum, count) => sum + count, 0);
  return `interpolation ${index + 1} (${site.file}:${site.line + before + inside})`;
}

function asmFile(path: string | URL, options: AsmFileOptions = {}): AsmSource {
  const { folder = "/" } = callSite(asmFile);
  return atCaller(asmFile, () => {
    const definitions = definitionsOf(options, ASM_FILE_OPTIONS);
    const file = localPath(path, folder, "an .asm file");
    checkFileIsThere(file);
    return new AsmSource({
      file,
      line: 1,
      folders: unique([
        dirname(file),
        ...(options.include ?? []).map((include) =>
          localPath(include, folder, "a folder of includes")
        ),
      ]),
      compose: () => {
        const text = Deno.readTextFileSync(file).replaceAll("\r\n", "\n");
        return `${definitions}${lineDirective(file, 1)}${text}\n`;
      },
    });
  });
}

const unique = (folders: readonly string[]) => [...new Set(folders)];

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

/**
 * What may stand in `${…}` of an asm literal: a whole number; the name of a symbol or register; bytes, which become
 * a list for `db`; another asm literal, on a line of its own.
 */
export type AsmValue = number | bigint | string | Uint8Array | AsmSource;

/** NASM's identifiers and `$`-escaped ones (NASM manual, "Layout of a NASM source line"). */
const IDENTIFIER = /^\$?[A-Za-z_.?][A-Za-z0-9_$#@~.?]*$/;
const MINIMUM_INTEGER = -(2n ** 63n);
const MAXIMUM_INTEGER = 2n ** 64n - 1n;
const ALLOWED =
  "Interpolate a safe integer, a bigint, a symbol's or register's name, a Uint8Array " +
  "or another asm literal";

/**
 * The NASM text for an interpolated value, but for an {@linkcode AsmSource}, which is left as it is.
 *
 * @param where What the message of an error says of the place: "interpolation 2 (x_test.ts:14)".
 * @throws {TypeError} When the value is of another kind.
 * @throws {RangeError} When a whole number is wider than 64 bits, or not exact as a `number`.
 */
export function interpolate(value: unknown, where: string): string | AsmSource {
  switch (typeof value) {
    case "number":
      return interpolateNumber(value, where);
    case "bigint":
      if (value >= MINIMUM_INTEGER && value <= MAXIMUM_INTEGER) return String(value);
      throw new RangeError(
        `Cannot use ${value}n as NASM text: ${where} does not fit 64 bits; give parts of it, or its bytes`,
      );
    case "string":
      if (IDENTIFIER.test(value)) return value;
      throw refusal(
        JSON.stringify(value),
        where,
        "is a string that is not the name of a symbol or register. For the bytes of a text write " +
          "db ${new TextEncoder().encode(text)}; for instructions interpolate another asm literal",
      );
    case "boolean":
      throw refusal(value, where, "is a boolean. Write ${Number(flag)} for 1 and 0");
    case "undefined":
      throw refusal(value, where, `is undefined. ${ALLOWED}`);
    case "object":
      return interpolateObject(value, where);
    default:
      throw refusal(`a ${typeof value}`, where, `is a ${typeof value}. ${ALLOWED}`);
  }
}

function interpolateNumber(value: number, where: string): string {
  if (Number.isSafeInteger(value)) return String(value);
  if (Number.isInteger(value)) {
    throw new RangeError(
      `Cannot use ${value} as NASM text: ${where} is beyond 2^53, where a number is not exact; ` +
        "write it as a bigint",
    );
  }
  throw refusal(
    value,
    where,
    "is not a whole number. Round it; a floating-point constant goes into the NASM text itself",
  );
}

function interpolateObject(value: object | null, where: string): string | AsmSource {
  if (value instanceof AsmSource) return value;
  if (value instanceof Uint8Array) return value.length === 0 ? '""' : value.join(",");
  const kind = value === null ? "null" : Array.isArray(value) ? "an array" : describeObject(value);
  const hint = ArrayBuffer.isView(value) || value instanceof ArrayBuffer || Array.isArray(value)
    ? "For bytes give a Uint8Array"
    : ALLOWED;
  throw refusal(kind, where, `is ${kind}. ${hint}`);
}

function describeObject(value: object): string {
  const name = value.constructor?.name;
  return name === undefined || name === "Object" ? "an object" : `an object (${name})`;
}

function refusal(shown: unknown, where: string, problem: string): TypeError {
  return new TypeError(`Cannot use ${shown} as NASM text: ${where} ${problem}.`);
}

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
