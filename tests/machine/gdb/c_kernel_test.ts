import { boot, Image } from "@vmexit/vmexit";
import { Pic, Pit, TestClock } from "@vmexit/vmexit/devices";
import { assert, assertStringIncludes } from "@std/assert";
import { linkGuest } from "../../guests/build_guest.ts";
import { gdb } from "./run_gdb.ts";

Deno.test("gdb shows a kernel's C lines, arguments and callers, by the kernel's own symbols", async () => {
  const C_FILES = ["main.c", "descriptors.c", "timer.c", "boot_information.c"];
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
  } finally {
    await Deno.remove(path);
  }
});
