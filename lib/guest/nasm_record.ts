import { hex } from "../x86/hex.ts";
import { HostError } from "../ffi/host_error.ts";
import { type Diagnostic, parseDiagnostics } from "./diagnostic.ts";
import type { ImageParts } from "./image_parts.ts";
import { parseListing } from "./listing.ts";
import { parseMap } from "./map_file.ts";
import { absolute, type NasmInput } from "./nasm_input.ts";
import { sourceText } from "./source_text.ts";

/** What NASM made of a text, as it wrote it: what the cache on the disk keeps, so that another vmexit may read more in it. */
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
 * @throws {RangeError} When the text's origin is more than 2^53 − 1.
 * @throws {HostError} When the map is not one of NASM's.
 */
export function readNasmRecord(input: NasmInput, record: NasmRecord): ImageParts {
  const map = parseMap(record.map);
  if (map === undefined) {
    throw new HostError(
      `Cannot read NASM's map; it begins ${JSON.stringify(record.map.slice(0, 80))}`,
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
  const { bytes } = record;
  const memoryOnly = map.sections.filter((section) => !section.hasBytes && section.length > 0)
    .map(({ start, length }) => ({ address: start, bytes: new Uint8Array(0), size: length }));
  return {
    segments: [{ address: origin, bytes, size: bytes.length }, ...memoryOnly],
    origin,
    entry: map.labels[ENTRY_LABEL] ?? origin,
    labels: map.labels,
    constants: map.constants,
    lines: parseListing(record.listing, {
      sections: map.sections,
      bytes,
      origin,
      includedFile: (name) => includedFile(name, input.folders, record.files),
    }),
    warnings: readDiagnostics(input, record.messages),
  };
}

/** Reads NASM's messages about a text, with the source lines that they are about. */
export function readDiagnostics(input: NasmInput, messages: string): Diagnostic[] {
  return parseDiagnostics(messages).map((diagnostic) => {
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
