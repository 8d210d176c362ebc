import { HostError } from "../ffi/errors.ts";
import { hex } from "../x86/hex.ts";
import { AssemblyError, type Diagnostic, parseDiagnostics, sourceText } from "./diagnostic.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import type { ImageInit } from "./image_init.ts";
import { parseListing } from "./listing.ts";
import { parseMap } from "./listing.ts";
import { MemoryFile } from "./tool.ts";
import { runTool, type ToolHost, type ToolResult } from "./tool.ts";

/** What NASM is to assemble. */
export interface NasmInput {
  /** The text, with `%line` directives that say where it comes from. */
  readonly text: string;
  /** The origin where the text has no `org` of its own. */
  readonly origin: bigint;
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

/**
 * What NASM made of a text, as it wrote it: what the cache on the disk keeps, so that another vmexit may read more in
 * it.
 */
export interface NasmRecord {
  /** The flat binary. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The listing: which line became which bytes. */
  readonly listing: string;
  /** The map: the origin, the sections and the symbols. */
  readonly map: string;
  /** Its warnings. */
  readonly messages: string;
  /** The paths of the files that it read beside the text. */
  readonly files: readonly string[];
}

/** The label that says where execution starts, as for the linker. `start` is no such: guests use it for loops. */
const ENTRY_LABEL = "_start";

/**
 * Reads what NASM wrote into an image's parts, but for `bits`, which the text may have said itself.
 *
 * @throws {HostError} When the map is not one of NASM's.
 */
export function readNasmRecord(input: NasmInput, record: NasmRecord): ImageInit {
  const map = parseMap(record.map, FIRST_LABEL);
  if (map === undefined) {
    throw new HostError(
      `Cannot read NASM's map; it begins ${JSON.stringify(record.map.slice(0, 80))}`,
    );
  }
  const { origin } = map;
  const { bytes } = record;
  const { lines, texts } = parseListing(record.listing, {
    sections: map.sections,
    bytes,
    origin,
    includedFile: (name) => includedFile(name, input.folders, record.files),
  });
  return {
    segments: map.sections.filter(({ length }) => length > 0).map((section) => {
      const { virtualStart, start, length, hasBytes } = section;
      const from = Number(start - origin);
      return {
        address: virtualStart,
        ...start === virtualStart ? {} : { loadAddress: start },
        bytes: hasBytes ? bytes.slice(from, from + length) : new Uint8Array(0),
        size: length,
      };
    }),
    origin,
    entry: map.labels[ENTRY_LABEL] ?? origin,
    labels: map.labels,
    constants: map.constants,
    lines,
    sourceText: (file, line) => texts.get(file)?.get(line),
    warnings: readDiagnostics(input, record.messages),
  };
}

/** Reads NASM's messages about a text, with the source lines that they are about. */
export function readDiagnostics(input: NasmInput, messages: string): Diagnostic[] {
  return parseDiagnostics(messages.replaceAll(`${FIRST_LABEL}.`, ".")).map((diagnostic) => {
    const file = absolute(diagnostic.file, input.folders);
    const text = sourceText(input.text, file, diagnostic.line);
    return { ...diagnostic, file, ...(text === undefined ? {} : { text }) };
  });
}

/** NASM takes an included file from the first folder that has it; which has, its list of files says. */
function includedFile(name: string, folders: readonly string[], files: readonly string[]): string {
  const candidates = folders.map((folder) => absolute(name, [folder]));
  return candidates.find((candidate) => files.includes(candidate)) ?? candidates[0] ?? name;
}

/**
 * Stands before the text, for its local labels before its first label: NASM, which assembles in passes, would give them
 * the name of its last one.
 */
const FIRST_LABEL = "__vmexit_start__";
const ORIGIN_REDEFINED = "program origin redefined";

/**
 * Assembles a text into a flat binary. All that NASM reads and writes of ours is a file in memory, since NASM reads
 * its input twice, so that standard input does not serve.
 *
 * @throws {AssemblyError} When NASM refuses the text.
 * @throws {HostError} When NASM is missing, too old, or fails in another way.
 */
export function runNasm(input: NasmInput, host: ToolHost): NasmRecord {
  const prelude = `bits ${input.bits}\n${FIRST_LABEL}:\n`;
  // NASM takes one `org`. Whether the text has one only NASM can tell: it may stand in a macro or an include.
  let attempt = attemptNasm(input, `${prelude}org ${hex(input.origin)}\n`, host);
  if (attempt.result.stderr.includes(ORIGIN_REDEFINED)) {
    attempt = attemptNasm(input, prelude, host);
  }
  const { result, ...made } = attempt;
  if (result.code !== 0) {
    const diagnostics = readDiagnostics(input, result.stderr);
    if (diagnostics.some(({ line }) => line > 0)) throw new AssemblyError(diagnostics);
    throw nasmTrouble(result, host);
  }
  // Another program under NASM's name may well end with success.
  if (made.map === "") throw nasmTrouble(result, host);
  const files = mentionsFiles(input.text) ? listDependencies(input, host) : [];
  return { ...made, messages: result.stderr, files };
}

type Attempt = Omit<NasmRecord, "messages" | "files"> & { readonly result: ToolResult };

function attemptNasm(input: NasmInput, prelude: string, host: ToolHost): Attempt {
  const libc = host.libc();
  using output = new MemoryFile(libc, "nasm output");
  using listing = new MemoryFile(libc, "nasm listing");
  using map = new MemoryFile(libc, "nasm map");
  const text = `[map all ${map.path}]\n${prelude}${input.text}`;
  using source = new MemoryFile(libc, "nasm source", new TextEncoder().encode(text));
  const result = runTool(host, "nasm", [
    ...["-f", "bin", "-o", output.path, "-l", listing.path],
    ...includeOptions(input.folders),
    source.path,
  ], input.folders[0]);
  if (result === undefined) throw nasmMissing();
  const decoder = new TextDecoder();
  return {
    result,
    bytes: output.read(),
    listing: decoder.decode(listing.read()),
    map: decoder.decode(map.read()),
  };
}

/** The first NASM with the `-i`, `%line` and map behaviour that vmexit relies on. */
const MINIMUM_VERSION = { major: 2, minor: 14 } as const;
const VERSION = /^NASM version (\d+)\.(\d+)/m;
const HOW_TO_GET_IT =
  "Install it with `apt-get install nasm` (Debian, Ubuntu), `dnf install nasm` (Fedora) or " +
  "`deno run -A jsr:@vmexit/vmexit/cli setup`";

/** There is no NASM. */
export function nasmMissing(): HostError {
  return new HostError(
    `Cannot assemble: NASM is not there. ${HOW_TO_GET_IT}; or name it in the environment variable VMEXIT_NASM.`,
  );
}

/** Why NASM failed with no word about the source: it is too old, it is not NASM, or it died. */
export function nasmTrouble(failed: ToolResult, host: ToolHost): HostError {
  const output = runTool(host, "nasm", ["-v"])?.stdout ?? "";
  const version = VERSION.exec(output);
  if (version === null) {
    return new HostError(
      `Cannot assemble: ${failed.command} is not NASM (asked for its version it says ` +
        `${JSON.stringify(output.slice(0, 80))}). ${HOW_TO_GET_IT}.`,
    );
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  const { major: wantedMajor, minor: wantedMinor } = MINIMUM_VERSION;
  if (major < wantedMajor || (major === wantedMajor && minor < wantedMinor)) {
    return new HostError(
      `Cannot assemble: ${failed.command} is NASM ${major}.${minor}, and ${wantedMajor}.${wantedMinor} or newer ` +
        `is needed. ${HOW_TO_GET_IT}; or name a newer one in the environment variable VMEXIT_NASM.`,
    );
  }
  return new HostError(
    `Cannot assemble: ${failed.command} ended with code ${failed.code} and said: ` +
      (failed.stderr.trim() || "nothing"),
  );
}

/** Whether NASM may read files for a text. `%pathsearch` and `%depend` serve to name some. */
export function mentionsFiles(text: string): boolean {
  return /include|incbin|%pathsearch|%depend/i.test(text);
}

/**
 * The files that NASM reads for a text beside it, from `nasm -M`. The `-MD` of NASM 2.16.00 and 2.16.01, which would
 * save this run, leaves the includes out (NASM bug 3392832).
 */
export function listDependencies(input: NasmInput, host: ToolHost): string[] {
  using source = new MemoryFile(host.libc(), "nasm source", new TextEncoder().encode(input.text));
  const args = ["-M", "-MT", "image", "-f", "bin", ...includeOptions(input.folders), source.path];
  const rule = runTool(host, "nasm", args, input.folders[0])?.stdout ?? "";
  return parseRule(rule)
    .filter((path) => path !== source.path)
    .map((path) => absolute(path, input.folders));
}

/** The prerequisites of a makefile rule. */
export function parseRule(rule: string): string[] {
  const joined = rule.replaceAll("\\\n", " ");
  const words = joined.slice(joined.indexOf(":") + 1).match(/(?:\\.|[^\s\\])+/g) ?? [];
  return words.map((word) => word.replace(/\\(.)/g, "$1").replaceAll("$$", "$"));
}
