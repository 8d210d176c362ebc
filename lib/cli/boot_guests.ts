import { bochsVmx } from "../nested/mod.ts";
import type { CommandContext } from "./command_context.ts";
import { nestedCommand } from "./nested_command.ts";
import { chooseKvm, prepareKvm } from "./prepare_kvm.ts";

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
