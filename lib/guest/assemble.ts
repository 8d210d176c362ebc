import { createHash } from "node:crypto";
import { AssemblyError, type Diagnostic, formatDiagnostic } from "./diagnostic.ts";
import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { checkAddress } from "./address.ts";
import { Image } from "./image.ts";
import { DiskCache, hashDependencies, ImageCache, readsSurroundings } from "./image_cache.ts";
import type { CodeBits } from "../x86/boot/cpu_state.ts";
import type { ImageInit } from "./image_init.ts";
import { type NasmInput, readNasmRecord, runNasm } from "./nasm.ts";
import { nasmIdentity, type ToolHost, toolHost } from "./tool.ts";
import { timed } from "./time_spent.ts";

/** How a source is to be assembled. */
export interface AssembleOptions {
  /** The address of the first byte, where the source has no `org` of its own. Without it: 0. */
  readonly origin?: number | bigint;
  /** The width of code where the source has no `bits` of its own. Without it: 16, as in NASM. */
  readonly bits?: CodeBits;
  /**
   * What becomes of NASM's warnings. `"print"`, the default, writes each once a process with `console.warn`; `"error"`
   * makes them errors; `"collect"` leaves them to {@linkcode Image.warnings}, where they are in any case.
   */
  readonly warnings?: "print" | "error" | "collect";
}

const ASSEMBLE_OPTIONS: NamesOf<AssembleOptions> = {
  origin: "value",
  bits: "value",
  warnings: "value",
};

/** A text for NASM and what it says of itself. */
export interface NasmText {
  /** With `%line` directives that say where it comes from. */
  readonly text: string;
  /** Where `%include` and `incbin` look. The first is NASM's working directory. */
  readonly folders: readonly string[];
  /** The width of code that the text sets first. */
  readonly declaredBits: CodeBits | undefined;
}

/** What {@linkcode assemble} works with. */
export interface Assembler {
  /** What runs NASM. */
  readonly host: ToolHost;
  /** Where images are kept for this process. */
  readonly memory?: ImageCache;
  /** Where what NASM made is kept for others. */
  readonly disk?: DiskCache;
  /** Takes a warning that is to be printed. */
  warn(text: string): void;
}

/** Raise it when what the caches keep changes its shape or meaning. */
const CACHE_FORMAT = 2;
const CODE_BITS: readonly unknown[] = [16, 32, 64];
const WARNINGS: readonly unknown[] = ["print", "error", "collect"];

/** This machine's NASM, with a cache in memory and one on disk. */
export const assembler: Assembler = {
  host: toolHost,
  memory: new ImageCache(),
  disk: new DiskCache(),
  warn: (text) => console.warn(text),
};

const printed: Set<string> = new Set();

/**
 * Assembles a text, or takes its image from a cache.
 *
 * @throws {AssemblyError} When NASM refuses it.
 * @throws {HostError} When NASM is missing, too old, or fails in another way.
 * @throws {RangeError | TypeError} When an option is out of range, or the text makes no bytes.
 * @throws {Deno.errors.NotCapable} When `run` is not permitted for NASM, or `ffi` not at all.
 */
export function assemble(
  source: NasmText,
  options: AssembleOptions = {},
  by: Assembler = assembler,
): Image {
  checkOptions("assemble", options, ASSEMBLE_OPTIONS);
  const { origin = 0, bits = 16, warnings = "print" } = options;
  checkBits(bits);
  if (!WARNINGS.includes(warnings)) {
    throw new TypeError(
      `Cannot treat warnings as ${JSON.stringify(warnings)}: give "print", "error" or "collect"`,
    );
  }
  const { text, folders } = source;
  const input: NasmInput = {
    text,
    folders,
    origin: checkAddress(origin, "an image's origin"),
    bits,
  };
  const parts = timed(
    "assembling",
    () =>
      readsSurroundings(text)
        ? readNasmRecord(input, runNasm(input, by.host))
        : cachedParts(input, by),
  );
  const found = parts.warnings ?? [];
  if (warnings === "error" && found.length > 0) throw new AssemblyError(found);
  if (warnings === "print") printOnce(found, by.warn);
  return new Image({
    ...parts,
    bits: source.declaredBits ?? bits,
    // The cache keeps its own bytes: who writes to an image's must not change the next one.
    segments: parts.segments.map((segment) => ({ ...segment, bytes: segment.bytes.slice() })),
  });
}

function cachedParts(input: NasmInput, { host, memory, disk }: Assembler): ImageInit {
  const identity = nasmIdentity();
  const key = createHash("sha256")
    .update(JSON.stringify([CACHE_FORMAT, identity, { ...input, origin: String(input.origin) }]))
    .digest("hex");
  const inMemory = memory?.get(key);
  if (inMemory !== undefined) return inMemory.value;

  // An unknown NASM does not change while this process runs, but the next process may find another.
  const usable = identity === undefined ? undefined : disk;
  const onDisk = usable?.get(key);
  const record = onDisk?.value ?? runNasm(input, host);
  const parts = readNasmRecord(input, record);
  const dependencies = onDisk?.dependencies ??
    hashDependencies(record.files, input.folders);
  if (dependencies !== undefined) {
    memory?.set(key, { value: parts, dependencies });
    if (onDisk === undefined) usable?.set(key, { value: record, dependencies });
  }
  return parts;
}

function checkBits(bits: CodeBits): void {
  if (!CODE_BITS.includes(bits)) {
    throw new RangeError(`Cannot assemble for ${bits} bits: code on x86 has 16, 32 or 64`);
  }
}

function printOnce(warnings: readonly Diagnostic[], warn: (text: string) => void): void {
  for (const warning of warnings) {
    const text = formatDiagnostic(warning);
    if (printed.has(text)) continue;
    printed.add(text);
    warn(text);
  }
}
