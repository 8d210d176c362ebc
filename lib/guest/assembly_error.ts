import { type Diagnostic, formatDiagnostic } from "./diagnostic.ts";

/**
 * NASM refused a source. The message shows each of NASM's with its place in the TypeScript or `.asm` file and
 * the source line.
 */
export class AssemblyError extends Error {
  /** The name that reporters print. */
  override readonly name = "AssemblyError";
  /** What NASM said, in its order. */
  readonly diagnostics: readonly Diagnostic[];

  /** Puts what NASM said, one diagnostic at least, into the message. */
  constructor(diagnostics: readonly Diagnostic[]) {
    const errors = diagnostics.filter((diagnostic) => diagnostic.severity === "error").length;
    const count = errors === 0
      ? "NASM warns, and warnings are errors here"
      : `NASM found ${errors === 1 ? "an error" : `${errors} errors`}`;
    super(`Cannot assemble: ${count}\n${diagnostics.map(formatDiagnostic).join("\n")}`);
    this.diagnostics = diagnostics;
  }
}
