import { type Diagnostic, formatDiagnostic } from "./diagnostic.ts";

const OTHER_WIDTH = /not supported in (16|32)-bit mode/;
const WIDTH_REMEDY =
  "Say how wide the code is: write `bits 32` or `bits 64` at its start, or give boot its `mode`.";

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
    const lines = diagnostics.map(formatDiagnostic);
    // NASM names the width, and a newcomer to it does not know what sets that.
    if (diagnostics.some(({ message }) => OTHER_WIDTH.test(message))) lines.push(WIDTH_REMEDY);
    super(`Cannot assemble: ${count}\n${lines.join("\n")}`);
    this.diagnostics = diagnostics;
  }
}
