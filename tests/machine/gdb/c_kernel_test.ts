import { boot, Image, type Machine, requires } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { linkGuest } from "../../guests/build_guest.ts";
import { gdb, gdbMi } from "./run_gdb.ts";

const C_FILES = ["main.c", "descriptors.c", "timer.c", "boot_information.c"];

/** Has a body debug a kernel of C, which has not run, by its file. */
async function withKernel(body: (vm: Machine, path: string) => Promise<void>): Promise<void> {
  const file = linkGuest("c_kernel", ["start32.asm", "traps.asm", ...C_FILES], {
    bits: 32,
    script: "kernel32.ld",
  });
  const path = await Deno.makeTempFile({ suffix: ".elf" });
  try {
    await Deno.writeFile(path, file);
    using vm = boot(Image.fromFile(file), {
      devices: [new Pic(), new Pit()],
      clock: new TestClock({ perExit: 10_000 }),
      kernel: { commandLine: "test=all quiet" },
    });
    // Where it says which of its tests run.
    vm.ports.on(0xe5, { write() {} });
    await body(vm, path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("gdb shows a kernel's C lines, arguments and callers, by the kernel's own symbols", () =>
  withKernel(async (vm, path) => {
    const said = (await gdb(vm, [
      "break read_boot_information",
      "continue",
      "print/x magic",
      "backtrace",
      "next",
      "detach",
    ], { file: path })).join("\n");
    assert(/Breakpoint 1, read_boot_information \(magic=\d+/.test(said), said);
    assertStringIncludes(said, "boot_information.c:");
    assertStringIncludes(said, "$1 = 0x2badb002");
    assert(/#1 .* main\.c:\d+/.test(said) || /#1 .* at .*main\.c:\d+/.test(said), said);
  }));

Deno.test(
  requires({ singleStep: true }, "gdb goes back by the kernel's C lines"),
  () =>
    withKernel(async (vm, path) => {
      const commands = [
        "break read_boot_information",
        "continue",
        "next",
        "reverse-next",
        "detach",
      ];
      const said = (await gdb(vm, commands, { file: path })).join("\n");
      const lines = [...said.matchAll(/^(\d+)\t/gm)].map(([, line]) => line);
      assertEquals(lines.slice(-3), ["35", "37", "35"], said);
    }),
);

/** The launch configuration of the examples. */
interface LaunchConfiguration {
  readonly MIMode: string;
  readonly miDebuggerServerAddress: string;
  readonly setupCommands: readonly { readonly text: string }[];
}

Deno.test("what VS Code has gdb do by the launch configuration of the examples", () =>
  withKernel(async (vm, path) => {
    const { configurations: [configuration] } = JSON.parse(
      await Deno.readTextFile(new URL("../../examples/.vscode/launch.json", import.meta.url)),
    ) as { readonly configurations: readonly LaunchConfiguration[] };
    const { MIMode, miDebuggerServerAddress, setupCommands } = configuration;
    assertEquals([MIMode, miDebuggerServerAddress], ["gdb", "127.0.0.1:1234"]);
    const said = (await gdbMi(vm, (port) => [
      ...setupCommands.map(({ text }) => `-interpreter-exec console ${JSON.stringify(text)}`),
      `-file-exec-and-symbols ${path}`,
      `-target-select remote ${miDebuggerServerAddress.replace("1234", String(port))}`,
      "-break-insert -f boot_information.c:37",
      "-exec-continue",
      "-thread-info",
      "-stack-list-frames 0 1000",
      "-stack-select-frame 0",
      "-stack-list-variables --simple-values",
      "-data-evaluate-expression magic",
      "-target-detach",
      "-gdb-exit",
    ])).join("\n");
    assertEquals(said.match(/^\^error.*/gm), null, said);
    assertMatch(
      said,
      /\*stopped,reason="breakpoint-hit",.*func="read_boot_information",.*line="37"/,
    );
    const [stack] = /^\^done,stack=.*/m.exec(said)!;
    assertEquals([...stack.matchAll(/func="(\w+)"/g)].map(([, name]) => name), [
      ...["read_boot_information", "test_boot", "kernel_main", "_start"],
    ]);
    const [variables] = /^\^done,variables=.*/m.exec(said)!;
    const MAGIC = "732803074"; // Multiboot's, 0x2badb002
    assertStringIncludes(variables, `{name="magic",arg="1",type="u32",value="${MAGIC}"}`);
    assertStringIncludes(variables, 'name="given"');
    assertStringIncludes(said, `^done,value="${MAGIC}"`);
  }));
