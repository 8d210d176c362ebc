import { CONSOLE_LOG, JOB_DISK } from "../run_folder.ts";
import { BOOT_DISK } from "./boot_disk.ts";
import { SAVE_PLUGIN } from "./save_plugin.ts";

/** The file that the parallel port writes to, in the run's folder. */
export const OUTPUT_FILE = "output";

const MEGABYTE = 2 ** 20;

/**
 * Bochs's configuration (bochsrc(5)). Disks are volatile, because a saved state has a copy of one that is not. Time counts instructions: it passes as
 * fast as the machine runs, and faster while it is idle.
 *
 * @param machine bytes of memory, and how many instructions are a second
 * @returns the text of a bochsrc
 */
export function bochsConfiguration(
  machine: { memory: number; instructionsPerSecond: number },
): string {
  const megabytes = machine.memory / MEGABYTE;
  return `config_interface: textconfig
display_library: term
plugin_ctrl: ${SAVE_PLUGIN}=1, biosdev=1, unmapped=1, speaker=0, gameport=0, iodebug=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
memory: guest=${megabytes}, host=${megabytes}
cpu: model=corei7_haswell_4770, count=1, ips=${machine.instructionsPerSecond}
clock: sync=none
pci: enabled=1, chipset=i440fx
boot: disk
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=${BOOT_DISK}, mode=volatile
ata0-slave: type=disk, path=${JOB_DISK}, mode=volatile
ata1: enabled=0
com1: enabled=1, mode=file, dev=${CONSOLE_LOG}
parport1: enabled=1, file=${OUTPUT_FILE}
log: /dev/null
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
debugger_log: -
`;
}

/**
 * The configuration that Bochs saved with a machine's state, without the plugin that saved it.
 *
 * @param saved the file `config` of the state
 */
export function withoutSavePlugin(saved: string): string {
  return saved.replace(new RegExp(`\\b${SAVE_PLUGIN}=\\w+, *`), "");
}
