import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  bochsVmx,
  cacheFolder,
  type FileIn,
  type NestedMachine,
  type NestedSession,
  startNested,
} from "../nested/mod.ts";
import { chooseKvm, prepareKvm } from "./prepare_kvm.ts";
import { captureDeno, denoFolder, writeAll } from "./run_deno.ts";
import type { CommandContext, Progress } from "./command_context.ts";
import { projectFiles, projectRoot } from "./project_files.ts";

const LEFT_OUT: ReadonlySet<string> = new Set([".git", "node_modules"]);

/** What may be otherwise with a nested command. */
export interface NestedCommandOptions {
  /** What Deno is to do with the module; default `"run"`. */
  subcommand?: "run" | "bench";
  /** The working directory; the host's current one unless told. */
  cwd?: string;
  /** Hears each line of standard output, which then does not go to our own; what it throws ends the command. */
  onLine?: (line: string) => void;
}

/**
 * Runs a module in a nested machine as `deno run -A` or `deno bench -A` would run it here, in the same folder and with
 * the same files. For commands that need a KVM where the host has none: give them their own command line again, and
 * they find a /dev/kvm.
 *
 * @param module Where the module is: a file or a URL in Deno's cache.
 * @param args Its arguments.
 * @param machine The machine to run it in.
 * @param context Who hears of it, what ends it.
 * @param options What is otherwise.
 * @returns Its exit code.
 *
 * @example
 * ```ts no-run
 * import { bochsVmx } from "@vmexit/vmexit/nested";
 * import { nestedCommand } from "./nested_command.ts";
 * import { Progress } from "./command_context.ts";
 *
 * const context = { progress: new Progress(), signal: new AbortController().signal };
 * await nestedCommand(new URL("./main.ts", import.meta.url), ["demo"], bochsVmx(), context);
 * ```
 */
export async function nestedCommand(
  module: URL,
  args: readonly string[],
  machine: NestedMachine,
  context: CommandContext,
  { subcommand = "run", cwd = Deno.cwd(), onLine }: NestedCommandOptions = {},
): Promise<number> {
  const { progress, signal } = context;
  const starting = startNested({ machine, onProgress: progress.show, signal });
  starting.catch(() => {});
  await captureDeno(["cache", module.href], { cwd, signal });
  // A module that is a file belongs to the project that it lies in, whose configuration says what it imports.
  const home = module.protocol === "file:" ? dirname(fileURLToPath(module)) : cwd;
  const files = await projectFiles([module], home, [], denoFolder(), signal);
  files.push({
    host: await projectRoot(cwd),
    exclude: (path) => LEFT_OUT.has(basename(path)),
  });
  await using session = await starting;
  progress.note(`running in a nested machine: ${machine.description}`);
  return await nestedDeno(
    session,
    [subcommand, "--allow-all", "--no-check", "--cached-only", module.href, ...args],
    {
      cwd,
      filesIn: [...files, { host: join(cacheFolder(), "bench") }],
      onStdout: onLine && byLine(onLine),
      isCaptured: onLine !== undefined,
      progress,
    },
  );
}

/** Makes whole lines of chunks of text. */
function byLine(hear: (line: string) => void): (chunk: Uint8Array) => void {
  const decoder = new TextDecoder();
  let rest = "";
  return (chunk) => {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    lines.forEach(hear);
  };
}

/**
 * Runs a command that boots guests: here, or, where the KVM is one that cannot be reached from here, the same command
 * line inside the emulated machine.
 *
 * @param main The module of the command line.
 * @param commandLine The command's name and its arguments.
 * @param command Runs it here.
 * @param context Who hears of it, what ends it.
 * @returns The exit code.
 */
export async function bootGuests(
  main: URL,
  commandLine: readonly string[],
  command: () => Promise<number>,
  context: CommandContext,
): Promise<number> {
  const choice = chooseKvm(context);
  if (choice.kvm === "bochs-vmx") {
    return await nestedCommand(main, commandLine, bochsVmx(), context);
  }
  const { PATH } = await prepareKvm(choice, context);
  Deno.env.set("PATH", PATH);
  return await command();
}

/** What a Deno inside is given. */
interface NestedDenoOptions {
  /** The working directory, the same inside. */
  cwd: string;
  /** Files and folders that it finds inside. */
  filesIn: readonly FileIn[];
  /** Files and folders that come back. */
  filesOut?: readonly string[];
  /** Variables beside those of the host that are passed on. */
  env?: Readonly<Record<string, string>>;
  /** Hears standard output. */
  onStdout?: (chunk: Uint8Array) => void;
  /** Whether it goes to that alone, and not to our own. */
  isCaptured?: boolean;
  /** Is cleared before the first output. */
  progress: Progress;
}

/**
 * Runs `deno` in a nested machine, with its output on our own streams.
 *
 * @param session A machine that waits for its command.
 * @param args Deno's arguments.
 * @param options Files and directory.
 * @returns Its exit code.
 */
export async function nestedDeno(
  session: NestedSession,
  args: readonly string[],
  options: NestedDenoOptions,
): Promise<number> {
  const { cwd, filesIn, filesOut = [], env, onStdout, isCaptured, progress } = options;
  // Assembled images are kept by content, so those of earlier runs, and of this one, are of use to all.
  const images = join(cacheFolder(), "images");
  const relay = (stream: { writeSync(bytes: Uint8Array): number }) => (chunk: Uint8Array): void => {
    progress.clear();
    writeAll(stream, chunk);
  };
  const showStdout = relay(Deno.stdout);
  const { code } = await session.run(["deno", ...args], {
    cwd,
    env: {
      DENO_DIR: denoFolder(),
      ...guestEnvironment(Deno.env.toObject(), Deno.stdout.isTerminal()),
      ...env,
    },
    filesIn: [...filesIn, { host: images }],
    filesOut: [...filesOut, images],
    onStdout: (chunk) => {
      if (!isCaptured) showStdout(chunk);
      onStdout?.(chunk);
    },
    onStderr: relay(Deno.stderr),
  });
  return code;
}

/** The choice has been made: what is a nested machine to us is the command's own machine. */
const CHOICE = "VMEXIT_KVM";

/** Variables that a command finds inside a nested machine as on the host. */
const PASSED = /^(VMEXIT_.*|NO_COLOR|FORCE_COLOR|CI|DENO_DIR|XDG_CACHE_HOME|TZ|LANG)$/;

/**
 * The environment that a nested command gets: what concerns vmexit and the look of its output.
 *
 * @param host The host's environment.
 * @param terminal Whether the output goes to a terminal; inside it goes to a port, where Deno would show no colours.
 */
export function guestEnvironment(
  host: Readonly<Record<string, string>>,
  terminal: boolean,
): Record<string, string> {
  const passed = Object.fromEntries(
    Object.entries(host).filter(([name]) => PASSED.test(name) && name !== CHOICE),
  );
  const coloured = terminal && passed.NO_COLOR === undefined;
  return coloured ? { FORCE_COLOR: "1", ...passed } : passed;
}
