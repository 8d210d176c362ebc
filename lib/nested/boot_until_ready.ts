import { READY } from "./init_script.ts";
import type { StartedMachine } from "./machine_process.ts";
import { NestedError } from "./nested_error.ts";
import { LineReader, withDeadline } from "./streams.ts";

/** How long a machine may take to boot on a busy host. */
const BOOT_SECONDS = 240;

/**
 * Waits until a machine that boots says that it is ready.
 *
 * @param machine The machine.
 * @throws {NestedError} With the end of the console, when it does not come up.
 */
export async function bootUntilReady(machine: StartedMachine): Promise<void> {
  const { process } = machine;
  const ready = async (): Promise<void> => {
    const { control } = await machine.streams();
    const said = await new LineReader(control).next();
    if (said === undefined) await process.failure;
    if (said !== READY) throw new NestedError(`The nested machine said ${said}, not ${READY}`);
  };
  await withDeadline(
    BOOT_SECONDS,
    Promise.race([ready(), process.failure]),
    () => process.lateness(`The nested machine did not come up within ${BOOT_SECONDS} seconds`),
  );
}
