/**
 * The command line of vmexit: `deno run -A jsr:@vmexit/vmexit/cli COMMAND`.
 *
 * @module
 */
import { NestedError } from "../nested/mod.ts";
import { doctor } from "./doctor.ts";
import { fuzzCommand } from "./fuzz.ts";
import { image } from "./image.ts";
import { type CommandContext, Interrupted, Interruption, Progress } from "./command_context.ts";
import { setup } from "./setup.ts";
import { testCommand } from "./test_command.ts";
import { bootGuests } from "./nested_command.ts";

/** What `vmexit help` prints. */
const HELP: string = `vmexit: unit tests for code that runs below an operating system

Usage: vmexit COMMAND [ARGUMENTS]

  demo [NAME ...]       boot the example guests and print each exit as it happens
  test [ARGUMENTS]      deno test with the same arguments; the last line is "N passed, N failed"
  run FILE [OPTIONS]    boot a kernel, a ROM, a boot sector or another image; what it writes to COM1 is shown
  bench [OPTIONS]       measure VM entry and exit on this host; bench FILE ... is deno bench with the same arguments
  fuzz FILE [OPTIONS]   tests whose fuzz() looks for inputs that fail: --time SECONDS (60), --runs N, --seed N, --filter TEXT
  setup                 fetch and make all that tests need; --c-compiler installs a C compiler, too; --no-install nothing;
                        --gdb installs gdb; --firmware fetches SeaBIOS, OVMF, GRUB, iPXE, Memtest86+, Xen
  image export FILE     pack the emulated machine; image import FILE unpacks it where its kernel cannot be fetched
  doctor                what this machine has, which KVM tests would use, and what to do about it
  help                  this text

Options of test, beside those of deno test
  --timing              where the time goes: the slowest files and tests; booting, running, assembling
  --guest-coverage=FILE which lines of guests were executed, in the format of lcov (lcov.info)
  --report=DIR          a page for a browser for each test that fails, with all that was seen at each exit (vmexit-report);
                        --report-all: for those that pass, too
  --second-opinion      the same tests on the other emulated machine as well: which come out otherwise, or make other exits
  --gdb TEXT            only tests with TEXT in their name; one that fails waits at its guest's fault for gdb, at port 1234

Options of run
  --append TEXT         the kernel's command line; --initrd FILE, --module FILE (more than one): files for it
  --memory SIZE         such as 64M; --cpus N; --disk FILE: an IDE disk (what the guest writes stays in memory)
  --mode MODE           real, protected, long, …; --kind KIND and --origin ADDRESS where the file does not say what it is
  --until TEXT          the run ends well as soon as the guest writes TEXT; --timeout SECONDS (60); --trace shows every exit
  --gdb                 waits for gdb at port 1234 (--gdb-port PORT) before the guest's first instruction
  exit code             status << 1 | 1 of a write to port 0xf4; 0 at HLT, power off, TEXT; 124 when the time is over; else 1

Options of bench
  --filter TEXT         only those with TEXT (or /an expression/) in their name or group; --list names all; --quick is rough
  --json, --markdown    print that instead of a table; --save FILE writes the JSON, --html FILE a report for a browser
  --baseline FILE       compare with what --save has written: exit code 1 when something is slower by more than
                        --threshold PERCENT (5), 3 when FILE is of another host
  --clock=instructions  counts the instructions of an emulated machine, which are the same on every host, however busy
  --vs-c                beside C programs that make the same system calls, in a clone of vmexit's repository

KVM is this machine's /dev/kvm. Where there is none that can be used, it is that of a machine that QEMU emulates, with an AMD
processor: the same results, no real timing. A machine that Bochs emulates has an Intel processor; commands run inside it.

Environment
  VMEXIT_KVM            which KVM to use, whatever there is: host, nested (the same as qemu-svm), qemu-svm or bochs-vmx
  VMEXIT_GUEST_COVERAGE the file of --guest-coverage, for plain deno test
  VMEXIT_REPORT         the folder of --report, for plain deno test; VMEXIT_REPORT_ALL=1 is --report-all
  VMEXIT_GDB            the port where a test that fails waits for gdb, for plain deno test
  VMEXIT_TIMEOUT_SCALE  what time limits are multiplied by (1; 20 in an emulated machine)
  XDG_CACHE_HOME        where what was fetched and made is kept, in a folder vmexit (~/.cache)
  TMPDIR                where a run keeps its temporary files (/tmp)
`;

type Command = (args: readonly string[], context: CommandContext) => Promise<number>;

const COMMANDS: Readonly<Record<string, Command>> = {
  bench,
  demo,
  doctor,
  fuzz: fuzzCommand,
  image,
  run: runImage,
  setup,
  test: testCommand,
};

async function bench(args: readonly string[], context: CommandContext): Promise<number> {
  return await (await import("./bench.ts")).bench(args, context);
}

async function demo(args: readonly string[], context: CommandContext): Promise<number> {
  const here = async () => await (await import("./demo.ts")).demo(args);
  return await bootGuests(new URL(import.meta.url), ["demo", ...args], here, context);
}

async function runImage(args: readonly string[], context: CommandContext): Promise<number> {
  const { signal } = context;
  const here = async () => await (await import("./run.ts")).run(args, { signal });
  return await bootGuests(new URL(import.meta.url), ["run", ...args], here, context);
}

/** The command line itself is wrong (as sysexits.h has it). */
const USAGE_EXIT_CODE = 64;
const WRONG_USAGE = [TypeError, RangeError, Deno.errors.NotFound];

const SIGNAL_DELAY_MILLISECONDS = 50;

function complain(message: string): void {
  console.error(`vmexit: ${message}`);
}

/**
 * Runs a command of the command line.
 *
 * @param args The command's name and its arguments.
 * @returns The exit code: that of the tests; {@linkcode NestedError.exitCode} when the nested machine failed; 130 or
 *   143 after SIGINT or SIGTERM.
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
    if (WRONG_USAGE.some((kind) => error instanceof kind)) {
      complain((error as Error).message);
      return USAGE_EXIT_CODE;
    }
    throw error;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
