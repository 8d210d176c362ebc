import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { NestedError, type NestedMachine, startNested } from "../nested/mod.ts";
import { captureDeno } from "./capture_deno.ts";
import type { CommandContext } from "./command_context.ts";
import { denoFolder } from "./deno_folder.ts";
import { nestedDeno } from "./nested_deno.ts";
import { permissionArguments } from "./permission_arguments.ts";
import { projectFiles } from "./project_files.ts";
import type { Counts } from "./junit.ts";
import type { TestArguments } from "./test_arguments.ts";
import { TestProgress } from "./test_progress.ts";
import { writeAll } from "./write_all.ts";

/** A `deno test` inside. */
export interface NestedLeg {
  /** The machine. */
  machine: NestedMachine;
  /** What the command line has. */
  parsed: TestArguments;
  /** This leg's own arguments. */
  own: readonly string[];
  /** Absolute paths of the modules that it may load. */
  roots: readonly string[];
  /** Absolute paths of the modules that another leg loads: they are checked here, too. */
  hostFiles: readonly string[];
  /** Absolute paths that come back. */
  filesOut: readonly string[];
}

/** How a nested `deno test` ended. */
export interface NestedLegResult {
  /** Its exit code, or that of the type check. */
  code: number;
  /** Whether the type check let it run. */
  ran: boolean;
  /** How many tests came out how until the machine died, if it did; the one under which it died has failed. */
  died?: Counts;
}

const CHECK = /^--(no-)?check(=|$)/;

/** Type-checks as `deno test` would, and has all modules fetched and transpiled. */
async function prepare(leg: NestedLeg, context: CommandContext): Promise<number> {
  const { parsed, roots, hostFiles } = leg;
  const options = { cwd: Deno.cwd(), signal: context.signal };
  const paths = parsed.paths.length > 0 ? parsed.paths : [];
  const skipsCheck = parsed.options.some((option) => option.startsWith("--no-check"));
  const checking = skipsCheck ? undefined : captureDeno(
    ["test", "--no-run", ...parsed.options, "--permit-no-files", ...paths],
    options,
  );
  const [check] = await Promise.all([
    checking,
    captureDeno(["cache", ...parsed.resolution, ...roots, ...hostFiles], options),
  ]);
  if (check !== undefined && check.code !== 0) {
    context.progress.clear();
    writeAll(Deno.stderr, check.stderr);
  }
  return check?.code ?? 0;
}

/**
 * Runs `deno test` in a nested machine: the machine is resumed while the modules are checked on the host, which is a hundred times faster at it.
 *
 * @param leg what to run
 * @param context who hears of it, what ends it
 * @returns how it ended
 */
export async function nestedLeg(leg: NestedLeg, context: CommandContext): Promise<NestedLegResult> {
  const { machine, parsed, own, roots, filesOut } = leg;
  const { progress, signal } = context;
  const cwd = Deno.cwd();
  const starting = startNested({ machine, onProgress: progress.show, signal });
  // It is awaited below, unless the check fails first.
  starting.catch(() => {});
  const code = await prepare(leg, context);
  await using session = await starting;
  if (code !== 0) return { code, ran: false };
  const urls = roots.map((root) => pathToFileURL(root));
  const filesIn = await projectFiles(urls, cwd, parsed.resolution, denoFolder(), signal);
  const args = [
    "test",
    "--no-check",
    "--cached-only",
    ...await permissionArguments(parsed, cwd),
    ...parsed.options.filter((option) => !CHECK.test(option)),
    ...own,
    ...(parsed.rest.length > 0 ? ["--", ...parsed.rest] : []),
  ];
  const snapshots =
    parsed.options.some((option) => option === "-u" || option === "--update-snapshots")
      ? [...new Set(roots.map((root) => join(dirname(root), "__snapshots__")))]
      : [];
  progress.note(`testing in a nested machine (${machine.description}): times mean nothing there`);
  const tests = new TestProgress();
  const onStdout = (chunk: Uint8Array) => tests.hear(chunk);
  const options = { cwd, filesIn, filesOut: [...filesOut, ...snapshots], progress, onStdout };
  try {
    return { code: await nestedDeno(session, args, options), ran: true };
  } catch (error) {
    if (!(error instanceof NestedError)) throw error;
    const { running, counts } = tests;
    const when = running === undefined ? "between two tests" : `in the test "${running}"`;
    progress.note(`${error.message}\n\nThis happened ${when}. Tests after it did not run.`);
    return { code: error.exitCode, ran: true, died: { ...counts, failed: counts.failed + 1 } };
  }
}
