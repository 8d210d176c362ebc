import { assemble } from "../assemble.ts";
import { bootUntilReady } from "../boot_until_ready.ts";
import { createJobDisk } from "../job_disk.ts";
import { NestedError } from "../nested_error.ts";
import type { ImageMaking, MachineStart, NestedMachine } from "../nested_machine.ts";
import { JOB_DISK, RunFolder } from "../run_folder.ts";
import { withDeadline } from "../streams.ts";
import { bochsConfiguration, BochsMachine, withoutSavePlugin } from "./bochs_machine.ts";
import { BOOT_DISK, createBootDisk, createEmptyBootDisk } from "./boot_disk.ts";
import { FREEZE_PROGRAM, SAVE_PLUGIN, SAVE_PLUGIN_SOURCE, STATE_FOLDER } from "./save_plugin.ts";
import { SEND_PROGRAM } from "./send_program.ts";

const NAME = "bochs-vmx";
const MEMORY = 2 ** 30;
/**
 * More than Bochs reaches, so that timers fire less often for the work done; the more there are, the longer an idle
 * second takes.
 */
const INSTRUCTIONS_PER_SECOND = 200_000_000;

const CONFIGURATION_FILE = "bochsrc";
const COMMANDS_FILE = "commands";
/** Debian's Bochs has its debugger built in, which waits for a command before it begins. */
const CONTINUE = "c\n";
/** Where Debian has Bochs's own plugins. */
const PLUGINS_FOLDER = "/usr/lib/x86_64-linux-gnu/bochs/plugins";
/** The display writes to standard output, for which ncurses wants to know a terminal. */
const TERMINAL = { TERM: "dumb" };

/** What is written to the ports is sent by one program, frame by frame. */
const OPEN_PORTS = `
for port in control stdout stderr files; do mkfifo /dev/vmexit-$port; done
exec 3<>/dev/vmexit-control 4<>/dev/vmexit-stdout 5<>/dev/vmexit-stderr 6<>/dev/vmexit-files
send < /dev/null > /dev/null 2>&1 &
`;

/** Once nobody listens on the serial port any more, which after its restoring receives zeros without end. */
const KEEP_STATE = `
exec < /dev/null > /dev/null 2>&1
freeze || die "Bochs does not save the machine's state"
`;

/** The disk is read again and again, because what the host writes to it makes no event. */
const AWAIT_WORD = `
word=
while [ "$word" != run ]; do
  usleep 50000
  blockdev --flushbufs /dev/sdb
  set -- $(head -c 64 /dev/sdb | tr -d '\\0')
  word=$1 seconds=$2 nanoseconds=$3
done
`;

/**
 * On one slow processor, V8's threads for compiling and collecting cost more than they save: tests then take twice as
 * long.
 */
const ONE_THREAD = { DENO_V8_FLAGS: "--single-threaded" };

/** What Bochs says while all is well, and its frame around what it says otherwise. */
const CHATTER = /^\d+i\[|^=+$|^Bochs connected to screen/;

/** A state can be restored only with disks that were last modified when those were with which it was saved. */
const DISKS_MODIFIED = new Date("2000-01-01T00:00:00Z");

/** How long Bochs may take to read its state on a busy host. */
const RESTORE_SECONDS = 60;

/** Starts Bochs in a folder that has its disks. */
async function startBochs(
  start: Pick<MachineStart, "program" | "run" | "signal">,
  args: readonly string[],
  env: Record<string, string>,
): Promise<BochsMachine> {
  const { program, run, signal } = start;
  await Deno.writeTextFile(`${run.path}/${COMMANDS_FILE}`, CONTINUE);
  for (const disk of [BOOT_DISK, JOB_DISK]) {
    await Deno.utime(`${run.path}/${disk}`, DISKS_MODIFIED, DISKS_MODIFIED);
  }
  return await BochsMachine.start(program, ["-q", "-rc", COMMANDS_FILE, ...args], {
    name: NAME,
    run,
    env: { ...TERMINAL, ...env },
    chatter: CHATTER,
    signal,
  });
}

async function makeImage(making: ImageMaking): Promise<void> {
  const { program, nasm, folder, signal } = making;
  await using run = await RunFolder.create();
  await createJobDisk(run.path);
  await createBootDisk(run.path, making, MEMORY);
  await Deno.writeTextFile(
    `${run.path}/${CONFIGURATION_FILE}`,
    bochsConfiguration({ memory: MEMORY, instructionsPerSecond: INSTRUCTIONS_PER_SECOND }),
  );
  const plugin = await assemble(nasm, SAVE_PLUGIN, SAVE_PLUGIN_SOURCE);
  await Deno.writeFile(`${run.path}/libbx_${SAVE_PLUGIN}.so`, plugin);
  // Saved where it stays: the run's folder may be on a small disk.
  const state = `${folder}/${STATE_FOLDER}`;
  await Deno.mkdir(state);
  await Deno.symlink(state, `${run.path}/${STATE_FOLDER}`);
  await using machine = await startBochs({ program, run, signal }, ["-f", CONFIGURATION_FILE], {
    LTDL_LIBRARY_PATH: `${run.path}:${PLUGINS_FOLDER}`,
  });
  await bootUntilReady(machine);
  const configuration = `${state}/config`;
  const saved = await Deno.readTextFile(configuration).catch((cause) => {
    throw new NestedError(`Bochs did not save the machine's state to ${state}`, { cause });
  });
  await Deno.writeTextFile(configuration, withoutSavePlugin(saved));
}

/** Restores the machine, and waits until it runs: before that, Bochs has not looked at its disks. */
async function restore(start: MachineStart): Promise<BochsMachine> {
  await createEmptyBootDisk(start.run.path);
  const machine = await startBochs(start, ["-r", `${start.folder}/${STATE_FOLDER}`], {});
  const { process } = machine;
  const { control } = await machine.streams();
  const reader = control.getReader();
  try {
    await withDeadline(
      RESTORE_SECONDS,
      Promise.race([reader.read(), process.failure]),
      () => process.lateness(`Bochs did not restore its state within ${RESTORE_SECONDS} seconds`),
    );
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
  reader.releaseLock();
  return machine;
}

/**
 * Bochs, emulating an Intel processor with VMX, so that Linux's kvm_intel works inside: nested guests, EPT, VPID and
 * unrestricted guests. One processor. A guest that never ends with interrupts disabled hangs the whole machine.
 *
 * @returns The machine, for {@linkcode NestedOptions.machine}.
 *
 * @example
 * ```ts
 * import { bochsVmx } from "@vmexit/vmexit/nested";
 *
 * console.log(bochsVmx().description); // "Bochs emulating Intel VMX"
 * ```
 */
export function bochsVmx(): NestedMachine {
  return {
    name: NAME,
    description: "Bochs emulating Intel VMX",
    // Not the script `bochs`, which adds arguments of its own.
    program: "bochs-bin",
    packages: ["bochs", "bochs-term", "bochsbios", "vgabios"],
    kernelModules: ["ata_piix", "sd_mod", "ext4", "kvm_intel"],
    timeoutScale: 20,
    env: ONE_THREAD,
    inside: {
      openPorts: OPEN_PORTS,
      keepState: KEEP_STATE,
      awaitWord: AWAIT_WORD,
      disk: "/dev/sdb",
      programs: { freeze: FREEZE_PROGRAM, send: SEND_PROGRAM },
    },
    recipe: [
      bochsConfiguration({ memory: MEMORY, instructionsPerSecond: INSTRUCTIONS_PER_SECOND }),
      SAVE_PLUGIN_SOURCE,
    ].join("\n"),
    makeImage,
    start: restore,
  };
}
