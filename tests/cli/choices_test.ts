import { assertEquals } from "@std/assert";
import { guestEnvironment } from "../../lib/cli/nested_command.ts";
import { Progress } from "../../lib/cli/command_context.ts";
import { filesMeant } from "../../lib/cli/test_inside.ts";

Deno.test("a nested command gets what concerns it, not the choice that led there", () => {
  const host = { VMEXIT_TIMEOUT_SCALE: "5", VMEXIT_KVM: "nested", CI: "1", SECRET: "x" };
  assertEquals(guestEnvironment(host, false), { VMEXIT_TIMEOUT_SCALE: "5", CI: "1" });
  assertEquals(guestEnvironment({}, true), { FORCE_COLOR: "1" });
  assertEquals(guestEnvironment({ NO_COLOR: "1" }, true), { NO_COLOR: "1" });
});

Deno.test("paths, folders and patterns choose test files", () => {
  const files = ["/p/a_test.ts", "/p/t/b_test.ts", "/p/t/c_test.ts", "/p/tt/d_test.ts"];
  const cases: [string[], string[]][] = [
    [[], files],
    [["t"], ["/p/t/b_test.ts", "/p/t/c_test.ts"]],
    [["./t/"], ["/p/t/b_test.ts", "/p/t/c_test.ts"]],
    [["a_test.ts"], ["/p/a_test.ts"]],
    [["t*/**/*_test.ts"], ["/p/t/b_test.ts", "/p/t/c_test.ts", "/p/tt/d_test.ts"]],
    [["none"], []],
  ];
  for (const [paths, expected] of cases) assertEquals(filesMeant(files, paths, "/p"), expected);
});

Deno.test("progress rewrites its line on a terminal and writes lines elsewhere", () => {
  for (
    const [terminal, expected] of [[true, "\r\x1b[Kvmexit: a …\r\x1b[Kvmexit: b\n"], [
      false,
      "vmexit: a\nvmexit: b\n",
    ]] as const
  ) {
    let written = "";
    const progress = new Progress(terminal, (text) => written += text);
    progress.show("a");
    progress.note("b");
    assertEquals(written, expected);
  }
});
