import {
  type CommandOptions,
  type CommandResult,
  NestedSession,
  type SessionOptions,
} from "./nested_session.ts";

/** All that can be said about one nested command. */
export interface NestedOptions extends SessionOptions, CommandOptions {}

/**
 * Starts to resume a nested machine, so that it comes up while its command is still being prepared.
 *
 * @param options Which machine, who hears of the progress, what ends it.
 * @returns A session that takes one command; dispose it to end the machine and remove its temporary files.
 * @throws {NestedError} When something that the machine is made of cannot be had.
 *
 * @example
 * ```ts no-run
 * import { startNested } from "@vmexit/vmexit/nested";
 *
 * await using session = await startNested();
 * const { code } = await session.run(["ls", "-l", "/dev/kvm"]);
 * console.log(code); // 0
 * ```
 */
export async function startNested(options: SessionOptions = {}): Promise<NestedSession> {
  return await NestedSession.start(options);
}

/**
 * Runs a command in a machine that has /dev/kvm, on a host that has none. What the machine needs is fetched and cached
 * first.
 *
 * @param command The program and its arguments; `deno`, `nasm` and busybox's tools are there.
 * @param options Files in and out, environment, output, time limit, machine.
 * @returns The command's exit code, its output, and the files that came back.
 * @throws {NestedError} When the machine cannot be had or fails; a command that fails is a result and no error.
 *
 * @example
 * ```ts no-run
 * import { runNested } from "@vmexit/vmexit/nested";
 *
 * const { code, stdout } = await runNested(["deno", "run", "-A", "probe.ts"], {
 *   cwd: "/home/me/project",
 *   filesIn: ["/home/me/project"],
 *   filesOut: ["/home/me/project/report.json"],
 *   limit: 60,
 * });
 * console.log(code, new TextDecoder().decode(stdout));
 * ```
 */
export async function runNested(
  command: readonly string[],
  options: NestedOptions = {},
): Promise<CommandResult> {
  await using session = await startNested(options);
  return await session.run(command, options);
}
