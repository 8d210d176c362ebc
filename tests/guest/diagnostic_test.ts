import { assertEquals } from "@std/assert";
import { formatDiagnostic, parseDiagnostics } from "../../lib/guest/diagnostic.ts";

const ROWS: [row: string, diagnostic: ReturnType<typeof parseDiagnostics>[number]][] = [
  ["boot.asm:3: error: symbol `a' not defined", {
    file: "boot.asm",
    line: 3,
    severity: "error",
    message: "symbol `a' not defined",
  }],
  ["file:///a%20b/x_test.ts:12: warning: byte data exceeds bounds [-w+number-overflow]", {
    file: "file:///a%20b/x_test.ts",
    line: 12,
    severity: "warning",
    message: "byte data exceeds bounds [-w+number-overflow]",
  }],
  ["boot.asm:4: ... from macro `spin' defined here", {
    file: "boot.asm",
    line: 4,
    severity: "note",
    message: "... from macro `spin' defined here",
  }],
  ["nasm: fatal: unable to open input file `x'", {
    file: "",
    line: 0,
    severity: "error",
    message: "unable to open input file `x'",
  }],
];
for (const [row, diagnostic] of ROWS) {
  Deno.test(`what NASM says is read: ${row}`, () => {
    assertEquals(parseDiagnostics(`${row}\n\n`), [diagnostic]);
  });
}

Deno.test("a diagnostic shows its line, with a mark below what NASM names", () => {
  const diagnostic = {
    file: "boot.asm",
    line: 3,
    severity: "error",
    message: "symbol `mesage' not defined",
    text: "\tmov si, mesage ",
  } as const;
  const [first] = ["boot.asm:3: error: symbol `mesage' not defined"];
  assertEquals(formatDiagnostic(diagnostic).split("\n"), [
    first,
    "    \tmov si, mesage",
    "    \t        ^^^^^^",
  ]);
  assertEquals(formatDiagnostic({ ...diagnostic, text: "  call x" }).split("\n"), [
    first,
    "      call x",
    "      ^",
  ]);
  assertEquals(formatDiagnostic({ ...diagnostic, text: undefined }), first);
  assertEquals(
    formatDiagnostic({ file: "", line: 0, severity: "warning", message: "odd" }),
    "nasm: warning: odd",
  );
});
