import { requireNasm } from "../nested/mod.ts";
import { chooseKvm } from "./choose_kvm.ts";
import type { CommandContext } from "./command_context.ts";
import { nestedCommand } from "./nested_command.ts";

/**
 * Runs a command that boots guests: here if this machine's KVM is used, else the same command line in a nested machine.
 *
 * @param main the module of the command line
 * @param commandLine the command's name and its arguments
 * @param command runs it here
 * @param context who hears of it, what ends it
 * @returns the exit code
 */
export async function bootGuests(
  main: URL,
  commandLine: readonly string[],
  command: () => Promise<number>,
  context: CommandContext,
): Promise<number> {
  const choice = chooseKvm(context);
  if (choice.kvm === "nested") {
    return await nestedCommand(main, commandLine, choice.machine, context);
  }
  const { folder } = await requireNasm(context.progress.show, context.signal);
  context.progress.clear();
  // At the end, so that it is found only where there is no other.
  Deno.env.set("PATH", `${Deno.env.get("PATH") ?? ""}:${folder}`);
  return await command();
}
