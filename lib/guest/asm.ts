import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { AsmSource } from "./asm_source.ts";
import { type CallSite, callSite } from "./call_site.ts";
import { composeLiteral } from "./compose_literal.ts";
import { type AsmValue, interpolate } from "./interpolation.ts";
import { lineDirective } from "./source_text.ts";
import { interpolationLines } from "./template_lines.ts";

const URL_SCHEME = /^[a-z][a-z0-9+.-]+:/i;

/** How an `.asm` file is to be read. */
export interface AsmFileOptions {
  /** Further folders where `%include` and `incbin` look, after the file's own: paths, or `file:` URLs. */
  readonly include?: readonly (string | URL)[];
}

/** The type of {@linkcode asm}. */
export interface AsmTag {
  /** NASM source as a tagged template. */
  (strings: TemplateStringsArray, ...values: AsmValue[]): AsmSource;
  /**
   * NASM source from a file. It is read when it is assembled, and so are the files that it includes.
   *
   * @param path A path or `file:` URL. A relative one counts from the folder of the module that calls, as an import
   * does.
   * @throws {TypeError} When it is neither.
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
export const asm: AsmTag = Object.assign(tag, { file: asmFile });

function tag(strings: TemplateStringsArray, ...values: unknown[]): AsmSource {
  if (!Array.isArray(strings) || strings.raw === undefined) {
    throw new TypeError(
      "Cannot call asm as a function: it is a template tag. Write asm`…`, or asm.file(path) for a file",
    );
  }
  const site = callSite(tag);
  // Only these two need a backslash in a template, and NASM has no use for one before either.
  const raw = strings.raw.map((part) => part.replace(/\\(`|\$\{)/g, "$1"));
  const lines = interpolationLines(site, strings.raw);
  const rendered = values.map((value, index) =>
    interpolate(value, placeOf(site, raw, lines, index))
  );
  const text = composeLiteral(site, raw, lines, rendered);
  return new AsmSource({
    file: site.file,
    line: site.line,
    folders: unique([
      ...site.folder === undefined ? [] : [site.folder],
      ...rendered.flatMap((value) => value instanceof AsmSource ? value.folders : []),
    ]),
    compose: text,
  });
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
  const file = localPath(path, folder);
  return new AsmSource({
    file,
    line: 1,
    folders: unique([
      dirname(file),
      ...(options.include ?? []).map((include) => localPath(include, folder)),
    ]),
    compose: () =>
      `${lineDirective(file, 1)}${Deno.readTextFileSync(file).replaceAll("\r\n", "\n")}\n`,
  });
}

function localPath(path: string | URL, folder: string): string {
  if (typeof path !== "string" && !(path instanceof URL)) {
    throw new TypeError(`Cannot use ${path} as an .asm file: give a path or a file: URL`);
  }
  if (typeof path === "string" && !URL_SCHEME.test(path)) return resolve(folder, path);
  const url = new URL(path);
  if (url.protocol !== "file:") {
    throw new TypeError(
      `Cannot use ${url} as an .asm file: NASM reads files of this machine; give a path or a file: URL`,
    );
  }
  return fileURLToPath(url);
}

const unique = (folders: readonly string[]) => [...new Set(folders)];
