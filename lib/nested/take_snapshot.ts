import { READY } from "./init_script.ts";
import { LineReader } from "./line_reader.ts";
import { MachineProcess } from "./machine_process.ts";
import { NestedError } from "./nested_error.ts";
import type { BootFiles, NestedMachine } from "./nested_machine.ts";
import { createJobDisk } from "./job_disk.ts";
import { RunFolder } from "./run_folder.ts";
import { saveState } from "./machine_state.ts";
import { within } from "./within.ts";

const BOOT_SECONDS = 120;

/**
 * Boots a machine, waits until it is ready for a command, and leaves its memory and state in files. The memory file is shared with QEMU, so only
 * the state is written out.
 *
 * @param machine the machine
 * @param program the path of its program
 * @param files where kernel and initramfs are, and where the memory goes
 * @param state where the state of processors and devices goes
 * @param signal ends it
 * @throws {NestedError} with the end of the console, when the machine does not come up
 */
export async function takeSnapshot(
  machine: NestedMachine,
  program: string,
  files: Omit<BootFiles, "run">,
  state: string,
  signal?: AbortSignal,
): Promise<void> {
  await using run = await RunFolder.create();
  await createJobDisk(run.path);
  const args = machine.boot({ ...files, run: run.path });
  await using process = await MachineProcess.start(program, args, {
    name: machine.name,
    run,
    signal,
  });
  const snapshot = async (): Promise<void> => {
    const qmp = await process.monitor();
    const { control } = await process.connections();
    const said = await new LineReader(control.readable).next();
    if (said !== READY) throw new NestedError(`The nested machine said ${said}, not ${READY}`);
    await saveState(qmp, state);
  };
  await within(
    BOOT_SECONDS,
    Promise.race([snapshot(), process.failure]),
    () => process.lateness(`The nested machine did not come up within ${BOOT_SECONDS} seconds`),
  );
}
