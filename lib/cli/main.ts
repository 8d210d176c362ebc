/**
 * The command line of vmexit: `deno run -A jsr:@vmexit/vmexit/cli COMMAND`.
 *
 * @module
 */
import { NestedError } from "../nested/mod.ts";
import { doctor } from "./doctor.ts";
import { image } from "./image.ts";
import type { CommandContext } from "./command_context.ts";
import { Interrupted, Interruption } from "./interrupted.ts";
import { Progress } from "./progress.ts";
import { HELP } from "./help.ts";
import { setup } from "./setup.ts";
import { testCommand } from "./test_command.ts";
import { bench } from "./bench.ts";
import { bootGuests } from "./boot_guests.ts";

type Command = (args: readonly string[], context: CommandContext) => Promise<number>;

const COMMANDS: Readonly<Record<string, Command>> = {
  bench,
  demo,
  doctor,
  image,
  setup,
  test: testCommand,
};

async function demo(args: readonly string[], context: CommandContext): Promise<number> {
  const here = async () => await (await import("./demo.ts")).demo(args);
  return await bootGuests(new URL(import.meta.url), ["demo", ...args], here, context);
}

/** The command line itself is wrong (as sysexits.h has it). */
const USAGE_EXIT_CODE = 64;

const SIGNAL_DELAY_MILLISECONDS = 50;

function complain(message: string): void {
  console.error(`vmexit: ${message}`);
}

/**
 * Runs a command of the command line.
 *
 * @param args the command's name and its arguments
 * @returns the exit code: that of the tests; {@linkcode NestedError.exitCode} when the nested machine failed; 130 or 143 after SIGINT or SIGTERM
 *
 * @example
 * ```ts no-run
 * import { main } from "@vmexit/vmexit/cli";
 *
 * Deno.exit(await main(["test", "--filter", "hello"]));
 * ```
 */
export async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || ["help", "--help", "-h"].includes(name)) {
    console.log(HELP);
    return name === undefined ? USAGE_EXIT_CODE : 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    complain(`there is no command ${name}\n\n${HELP}`);
    return USAGE_EXIT_CODE;
  }
  using interruption = new Interruption();
  using progress = new Progress();
  const { signal } = interruption;
  try {
    return await COMMANDS[name](rest, { progress, signal });
  } catch (error) {
    progress.clear();
    // Ctrl-C goes to the programs that we run, too: one that ends of it may be heard of before the signal itself.
    await new Promise((resolve) => setTimeout(resolve, SIGNAL_DELAY_MILLISECONDS));
    const reason = signal.aborted ? signal.reason : error;
    if (reason instanceof Interrupted) {
      complain(reason.message);
      return reason.exitCode;
    }
    if (error instanceof NestedError) {
      complain(error.message);
      return error.exitCode;
    }
    if (error instanceof TypeError || error instanceof RangeError) {
      complain(error.message);
      return USAGE_EXIT_CODE;
    }
    throw error;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
