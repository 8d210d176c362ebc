import { run } from "../../lib/cli/run.ts";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AT_1_MIB, linked } from "../guest/loaders/linked.ts";
import { saying, talk } from "../machine/gdb/talk.ts";

const KERNEL = linked(
  `
  bits 32
  section .header
  dd 0x1badb002, 0, -0x1badb002
  section .text
  global _start
_start:
  mov edx, 0x3f8
  mov al, bl
  out dx, al
  cli
  hlt
`,
  { format: "elf32", script: AT_1_MIB },
);

Deno.test("run --gdb waits for gdb before the first instruction, and runs on when it lets go", async () => {
  const file = Deno.makeTempFileSync({ prefix: "vmexit-run-" });
  try {
    Deno.writeFileSync(file, KERNEL);
    let text = "";
    let code: Promise<number> | undefined;
    // EBX, by gdb's number.
    const heard = await talk(saying("s", "P3=21000000", "D"), (onListening) => {
      code = run([file, "--gdb-port", "0"], {
        write: (bytes) => text += new TextDecoder().decode(bytes),
        writeError(line) {
          const port = /waits for gdb -ex "target remote :(\d+)"/.exec(line);
          if (port !== null) onListening(Number(port[1]));
        },
      });
    });
    assertStringIncludes(heard, "$T05thread:1;");
    assertEquals([await code, text], [0, "!"]);
  } finally {
    Deno.removeSync(file);
  }
  await assertRejects(
    () => run(["x", "--gdb-port", "99999"]),
    RangeError,
    "Cannot use --gdb-port 99999",
  );
});
