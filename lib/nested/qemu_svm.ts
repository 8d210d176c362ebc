import { PORTS } from "./init_script.ts";
import type { MachineFiles, NestedMachine } from "./nested_machine.ts";
import { CONSOLE_LOG, JOB_DISK, socketName } from "./run_folder.ts";

/** What can be chosen about the machine. Each choice has a snapshot of its own. */
export interface QemuSvmOptions {
  /** Bytes of memory; 2 GiB unless told. */
  memory?: number;
  /** Number of processors; 2 unless told. */
  processors?: number;
}

const MEMORY = 2 * 1024 ** 3;
const PROCESSORS = 2;

/**
 * No mitigations and no self-tests, because all is emulated and slow; expedited RCU, because creating and closing a VM waits for it; panics end
 * QEMU at once, because of -no-reboot.
 */
const KERNEL_COMMAND_LINE = [
  "quiet",
  "console=ttyS0",
  "panic=-1",
  "mitigations=off",
  "nokaslr",
  "cryptomgr.notests",
  "tsc=reliable",
  "rcupdate.rcu_expedited=1",
  "random.trust_cpu=on",
].join(" ");

/** A value within a QEMU option, where a comma separates options unless doubled. */
function optionValue(value: string): string {
  return value.replaceAll(",", ",,");
}

function machineArguments(
  files: MachineFiles,
  options: Required<QemuSvmOptions>,
  shared: boolean,
): string[] {
  const path = optionValue(files.memory);
  const backend = `memory-backend-file,id=ram,size=${options.memory},mem-path=${path}`;
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", "q35,memory-backend=ram"],
    ...["-accel", "tcg,thread=multi"],
    // Without fast string instructions, because QEMU emulates them byte by byte where the kernel and libc expect a gain.
    ...["-cpu", "max,-erms,-fsrm"],
    ...["-smp", String(options.processors)],
    ...["-m", `${options.memory}B`],
    // Shared while the snapshot is made, so that the file is the memory; private after, so that runs share it unchanged.
    ...["-object", `${backend},share=${shared ? "on" : "off"}`],
    ...["-qmp", "stdio"],
    ...["-kernel", files.vmlinuz, "-append", KERNEL_COMMAND_LINE],
    ...["-chardev", `file,id=console,path=${CONSOLE_LOG}`, "-serial", "chardev:console"],
    ...[
      "-drive",
      // Errors are reported inside: the default is to pause the machine when the host's disk is full.
      `if=none,id=job,format=raw,cache=unsafe,file.locking=off,werror=report,rerror=report,file=${JOB_DISK}`,
      "-device",
      "virtio-blk-pci,drive=job",
    ],
    ...["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"],
    ...PORTS.flatMap((port, index) => [
      ...["-chardev", `socket,id=${port},path=${socketName(port)}`],
      ...["-device", `virtserialport,chardev=${port},name=${port},nr=${index + 1}`],
    ]),
  ];
}

/**
 * QEMU without hardware help, emulating an AMD processor with SVM, so that Linux's kvm_amd works inside. Any x86-64 Linux host can run it.
 *
 * @param options memory and processors
 * @returns the machine, for {@linkcode NestedOptions.machine}
 *
 * @example
 * ```ts
 * import { qemuSvm } from "@vmexit/vmexit/nested";
 *
 * console.log(qemuSvm().description); // "QEMU emulating AMD SVM"
 * ```
 */
export function qemuSvm(options: QemuSvmOptions = {}): NestedMachine {
  const chosen = { memory: MEMORY, processors: PROCESSORS, ...options };
  return {
    name: "qemu-svm",
    description: "QEMU emulating AMD SVM",
    program: "qemu-system-x86_64",
    packages: ["qemu-system-x86"],
    kernelModules: ["virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4", "kvm_amd"],
    timeoutScale: 20,
    boot: (files) => [...machineArguments(files, chosen, true), "-initrd", files.initramfs],
    resume: (files) => [...machineArguments(files, chosen, false), "-incoming", "defer"],
  };
}
