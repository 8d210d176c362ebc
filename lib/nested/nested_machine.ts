import type { BootParts } from "./boot_parts.ts";
import type { RunFolder } from "./run_folder.ts";
import type { StartedMachine } from "./machine_process.ts";

/** What is different inside a machine; its `/init` and its root are made with it. */
export interface MachineInside {
  /** Shell commands that open the file descriptors 3 to 6, the ports control, stdout, stderr and files, for writing. */
  readonly openPorts: string;
  /** Shell commands that keep the machine's state, when all is ready; a machine that is started goes on after them. */
  readonly keepState: string;
  /** Shell commands that wait for the word to start and set `word`, `seconds` and `nanoseconds` from it. */
  readonly awaitWord: string;
  /** The block device with the command and its files. */
  readonly disk: string;
  /** NASM sources of static programs that these commands call, by name. */
  readonly programs: Readonly<Record<string, string>>;
}

/** What a machine is started with. */
export interface MachineStart {
  /** The path of its program. */
  program: string;
  /** The kernel's bzImage. */
  vmlinuz: string;
  /** The folder of its image. */
  folder: string;
  /** The run's own folder: its disk, its output and its console log. */
  run: RunFolder;
  /** Ends it. */
  signal?: AbortSignal;
}

/** What a machine's image is made with. */
export interface ImageMaking {
  /** The path of its program. */
  program: string;
  /** The kernel and what goes with it. */
  parts: BootParts;
  /** The first root file system, an archive that the kernel unpacks. */
  initramfs: Uint8Array<ArrayBuffer>;
  /** The folder that gets the image, and nothing else. */
  folder: string;
  /** The path of NASM. */
  nasm: string;
  /** Ends it. */
  signal?: AbortSignal;
}

/** The program that runs a machine. */
export interface MachineProgram {
  /** Its name. */
  readonly program: string;
  /** The Debian packages that have it. */
  readonly packages: readonly string[];
}

/**
 * A machine that has a /dev/kvm of its own, as a value: what it needs and how it is started. The runner knows machines
 * only by this.
 *
 * @example
 * ```ts
 * import { bochsVmx, type NestedMachine } from "@vmexit/vmexit/nested";
 *
 * const machine: NestedMachine = bochsVmx();
 * console.log(machine.name); // "bochs-vmx"
 * ```
 */
export interface NestedMachine extends MachineProgram {
  /** A short name, which the command inside finds in `VMEXIT_NESTED`. */
  readonly name: string;
  /** What it is, for people. */
  readonly description: string;
  /** The kernel modules that give it its disk, its ports and /dev/kvm. */
  readonly kernelModules: readonly string[];
  /** How much longer than on real hardware time limits must be inside. */
  readonly timeoutScale: number;
  /** Environment variables that commands inside get unless they are told others. */
  readonly env: Readonly<Record<string, string>>;
  /** What is different inside. */
  readonly inside: MachineInside;
  /** All else that its image depends on, as text: another text is another image. */
  readonly recipe: string;
  /**
   * Boots the machine and leaves in the folder what {@link NestedMachine.start} starts it from: booted, and waiting for
   * its word.
   *
   * @throws {NestedError} With the end of the console, when the machine does not come up.
   */
  makeImage(making: ImageMaking): Promise<void>;
  /**
   * Starts the machine from its image. The run's folder has an empty job disk, which is filled before the word is told.
   */
  start(start: MachineStart): Promise<StartedMachine>;
}
