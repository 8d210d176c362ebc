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
  const commands = (port: number) => [
    ...[setup, "set pagination off", "set confirm off", "set width 0"],
    ...[`target remote :${port}`, ...given],
  ];
  const args = ["-batch", ...file === undefined ? [] : [file], "-x"];
  return (await attached(vm, commands, 'exec "$@" "$script" 2>&1', args))
    .filter((line) => !NOISE.test(line));
}

/** The same by gdb's machine interface, as editors have it. */
export function gdbMi(
  vm: Machine,
  commands: (port: number) => readonly string[],
): Promise<string[]> {
  return attached(vm, commands, 'exec "$@" <"$script" 2>&1', ["--interpreter=mi2"]);
}

/** @param shell What starts gdb: with these arguments, and the file of its commands. */
async function attached(
  vm: Machine,
  commands: (port: number) => readonly string[],
  shell: string,
  args: readonly string[],
): Promise<string[]> {
  const script = await Deno.makeTempFile({ suffix: ".gdb" });
  try {
    let child: Deno.ChildProcess | undefined;
    vm.serveGdb({
      port: 0,
      timeout: 60_000,
      onListening(port) {
        Deno.writeTextFileSync(script, `${commands(port).join("\n")}\n`);
        // What comes of the guest's side gdb prints on its standard error.
        child = new Deno.Command("sh", {
          args: ["-c", shell, "sh", program(), "-q", "-nx", ...args],
          env: { script },
          stdin: "null",
          stdout: "piped",
        }).spawn();
      },
    });
    const { stdout, code } = await child!.output();
    const said = new TextDecoder().decode(stdout);
    assertEquals(code, 0, said);
    return said.split("\n");
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
