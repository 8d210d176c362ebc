import { assertEquals } from "@std/assert";
import { Progress } from "../../lib/cli/command_context.ts";

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
