import { hex } from "../x86/hex.ts";
import { AssemblyError } from "./assembly_error.ts";
import { type Diagnostic, parseDiagnostics } from "./diagnostic.ts";
import { sourceText } from "./source_text.ts";
import { listDependencies, mentionsFiles } from "./dependencies.ts";
import type { ImageParts } from "./image_parts.ts";
import { parseListing } from "./listing.ts";
import { parseMap } from "./map_file.ts";
import { MemoryFile } from "./memory_file.ts";
import { absolute, includeOptions, type NasmInput } from "./nasm_input.ts";
import { nasmMissing, nasmTrouble } from "./nasm_trouble.ts";
import { runTool, type ToolHost, type ToolResult } from "./tool.ts";

/** What NASM made. */
export interface NasmOutput {
  /** The image's parts, but for `bits`, which the text may have said itself. */
  readonly parts: ImageParts;
  /** The paths of the files that it read beside the text. */
  readonly dependencies: readonly string[];
}

/** The label that says where execution starts, as for the linker. `start` is no such: guests use it for loops. */
const ENTRY_LABEL = "_start";
const ORIGIN_REDEFINED = "program origin redefined";

interface Attempt {
  readonly result: ToolResult;
  readonly diagnostics: readonly Diagnostic[];
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly listing: string;
  readonly map: string;
}

/**
 * Assembles a text into a flat binary. All that NASM reads and writes of ours is a file in memory, since NASM reads
 * its input twice, so that standard input does not serve.
 *
 * @throws {AssemblyError} When NASM refuses the text.
 * @throws {HostError} When NASM is missing, too old, or fails in another way.
 * @throws {RangeError} When the text's origin is more than 2^53 − 1.
 */
export function runNasm(input: NasmInput, host: ToolHost): NasmOutput {
  const prelude = `bits ${input.bits}\n`;
  // NASM takes one `org`. Whether the text has one only NASM can tell: it may stand in a macro or an include.
  let attempt = attemptNasm(input, `${prelude}org ${hex(input.origin)}\n`, host);
  const redefined = attempt.diagnostics.some(({ message }) => message === ORIGIN_REDEFINED);
  if (redefined) attempt = attemptNasm(input, prelude, host);

  const { result, diagnostics } = attempt;
  if (result.code !== 0) {
    if (diagnostics.some(({ line }) => line > 0)) throw new AssemblyError(diagnostics);
    throw nasmTrouble(result, host);
  }
  return {
    parts: readParts(input, attempt),
    dependencies: mentionsFiles(input.text) ? listDependencies(input, host) : [],
  };
}

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
    diagnostics: parseDiagnostics(result.stderr).map((diagnostic) => {
      const file = absolute(diagnostic.file, input.folders);
      return { ...diagnostic, file, text: sourceText(input.text, file, diagnostic.line) };
    }),
    bytes: output.read(),
    listing: decoder.decode(listing.read()),
    map: decoder.decode(map.read()),
  };
}

function readParts(input: NasmInput, attempt: Attempt): ImageParts {
  const map = parseMap(attempt.map);
  if (map === undefined) {
    throw new TypeError(
      "Cannot read where NASM placed the labels: the source has a `map` directive of its own, which takes the " +
        "place of vmexit's; remove it, the image has its symbols and lines",
    );
  }
  if (map.origin > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(
      `Cannot use ${
        hex(map.origin)
      } as an image's origin: it is more than 2^53 - 1. The origin is where the ` +
        "code lies in physical memory; give a section that runs at another address its vstart=",
    );
  }
  const origin = Number(map.origin);
  const { bytes } = attempt;
  const memoryOnly = map.sections.filter((section) => !section.hasBytes && section.length > 0)
    .map(({ start, length }) => ({ address: start, bytes: new Uint8Array(0), size: length }));
  return {
    segments: [{ address: origin, bytes, size: bytes.length }, ...memoryOnly],
    origin,
    entry: map.labels[ENTRY_LABEL] ?? origin,
    labels: map.labels,
    constants: map.constants,
    lines: parseListing(attempt.listing, {
      sections: map.sections,
      bytes,
      origin,
      includedFile: (name) => absolute(name, input.folders),
    }),
    warnings: attempt.diagnostics,
  };
}
