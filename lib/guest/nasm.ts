import { hex } from "../x86/hex.ts";
import { AssemblyError } from "./assembly_error.ts";
import { listDependencies, mentionsFiles } from "./dependencies.ts";
import { MemoryFile } from "./memory_file.ts";
import { includeOptions, type NasmInput } from "./nasm_input.ts";
import { type NasmRecord, readDiagnostics } from "./nasm_record.ts";
import { nasmMissing, nasmTrouble } from "./nasm_trouble.ts";
import { runTool, type ToolHost, type ToolResult } from "./tool.ts";

const ORIGIN_REDEFINED = "program origin redefined";

/**
 * Assembles a text into a flat binary. All that NASM reads and writes of ours is a file in memory, since NASM reads
 * its input twice, so that standard input does not serve.
 *
 * @throws {AssemblyError} When NASM refuses the text.
 * @throws {HostError} When NASM is missing, too old, or fails in another way.
 */
export function runNasm(input: NasmInput, host: ToolHost): NasmRecord {
  const prelude = `bits ${input.bits}\n`;
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
