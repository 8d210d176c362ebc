/** The files that a nested machine is started from. */
export interface MachineFiles {
  /** The kernel's bzImage. */
  vmlinuz: string;
  /** The file that is the machine's memory. */
  memory: string;
  /** The run's own folder: its disk, its sockets and its console log. */
  run: string;
}

/** The files that it boots from: the initramfs is in its memory then, and not needed again. */
export interface BootFiles extends MachineFiles {
  /** The initramfs. */
  initramfs: string;
}

/**
 * A machine that has a /dev/kvm of its own, as a value: what it needs and how it is started. The runner knows machines only by this.
 *
 * @example
 * ```ts
 * import { type NestedMachine, qemuSvm } from "@vmexit/vmexit/nested";
 *
 * const bigger: NestedMachine = qemuSvm({ memory: 4 * 1024 ** 3 });
 * console.log(bigger.name); // "qemu-svm"
 * ```
 */
export interface NestedMachine {
  /** A short name, which the command inside finds in `VMEXIT_NESTED`. */
  readonly name: string;
  /** What it is, for people. */
  readonly description: string;
  /** The program that runs it. */
  readonly program: string;
  /** The Debian packages that have the program. */
  readonly packages: readonly string[];
  /** The kernel modules that give it its disk, its ports and /dev/kvm. */
  readonly kernelModules: readonly string[];
  /** How much longer than on real hardware time limits must be inside. */
  readonly timeoutScale: number;
  /** The program's arguments to boot, with its memory in the file. It speaks QMP on its standard input and output. */
  boot(files: BootFiles): string[];
  /** The program's arguments to wait for a snapshot's state, which it is given through QMP; the memory file stays as it is. */
  resume(files: MachineFiles): string[];
}
