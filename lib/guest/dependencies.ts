import { createHash } from "node:crypto";
import { permitted } from "./cache_folder.ts";
import { absolute, includeOptions, type NasmInput } from "./nasm_input.ts";
import { MemoryFile } from "./memory_file.ts";
import { runTool, type ToolHost } from "./tool.ts";

/** A file that an image was made from, beside its own text. */
export interface Dependency {
  /** Where it is. */
  readonly path: string;
  /** The SHA-256 of its content, in hex. */
  readonly sha256: string;
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

/** Whether a text reads the clock or the environment, so that it gives another image every time. */
export function readsSurroundings(text: string): boolean {
  return /__\??(?:UTC_)?(?:DATE|TIME|POSIX_TIME)|%!|%(?:el)?ifn?env/i.test(text);
}

/**
 * The files with their contents' hashes, or undefined where an image made from them must not be kept: one may not be
 * read without asking, or {@linkcode readsSurroundings}.
 */
export function hashDependencies(paths: readonly string[]): Dependency[] | undefined {
  const dependencies: Dependency[] = [];
  for (const path of paths) {
    const content = readQuietly(path);
    if (content === undefined || readsSurroundings(new TextDecoder().decode(content))) {
      return undefined;
    }
    dependencies.push({ path, sha256: sha256(content) });
  }
  return dependencies;
}

/** Whether every file still has the content it had. */
export function areCurrent(dependencies: readonly Dependency[]): boolean {
  return dependencies.every((dependency) => {
    const content = readQuietly(dependency.path);
    return content !== undefined && sha256(content) === dependency.sha256;
  });
}

const sha256 = (content: Uint8Array) => createHash("sha256").update(content).digest("hex");

function readQuietly(path: string): Uint8Array | undefined {
  if (!permitted(path, "read")) return undefined;
  try {
    return Deno.readFileSync(path);
  } catch {
    // Gone or unreadable: what was made from it is then not kept, and NASM says what is wrong.
    return undefined;
  }
}
