import { assertEquals } from "@std/assert";
import type { Machine } from "@vmexit/vmexit";

const INSTALL = "The tests of vm.serveGdb() need gdb: deno run -A lib/cli/main.ts setup --gdb";

/** Lines that are about the user's terminal and files, not the guest. */
const NOISE = /^(warning: .*|of GDB\. .*|determining executable .*|)$/;

/** Has gdb ask anew, at each stop, what the guest executes: see docs/gdb.md. */
const SWITCHING = "python gdb.events.stop.connect(lambda _: gdb.execute('unset tdesc filename'))";

/**
 * Attaches real gdb to a machine, has it carry out commands, and gives what it prints.
 *
 * @param given Commands, the first of which comes behind `target remote`.
 */
export async function gdb(
  vm: Machine,
  given: readonly string[],
  { file, setup = SWITCHING }: { readonly file?: string; readonly setup?: string } = {},
): Promise<string[]> {
  const script = await Deno.makeTempFile({ suffix: ".gdb" });
  try {
    let child: Deno.ChildProcess | undefined;
    vm.serveGdb({
      port: 0,
      timeout: 60_000,
      onListening(port) {
        const lines = [
          "set pagination off",
          "set confirm off",
          "set width 0",
          `target remote :${port}`,
          ...given,
        ];
        Deno.writeTextFileSync(script, `${setup}\n${lines.join("\n")}\n`);
        const args = ["-q", "-nx", "-batch", ...file === undefined ? [] : [file], "-x", script];
        // What comes of the guest's side gdb prints on its standard error.
        child = new Deno.Command("sh", {
          args: ["-c", 'exec "$@" 2>&1', "sh", program(), ...args],
          stdin: "null",
          stdout: "piped",
        }).spawn();
      },
    });
    const { stdout, code } = await child!.output();
    const said = new TextDecoder().decode(stdout);
    assertEquals(code, 0, said);
    return said.split("\n").filter((line) => !NOISE.test(line));
  } finally {
    await Deno.remove(script);
  }
}

function program(): string {
  try {
    new Deno.Command("gdb", { args: ["--version"], stdout: "null", stderr: "null" }).outputSync();
    return "gdb";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(INSTALL, { cause: error });
    throw error;
  }
}
