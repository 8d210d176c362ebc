import { bootUntilReady } from "../boot_until_ready.ts";
import { PORTS } from "../init_script.ts";
import { createJobDisk } from "../job_disk.ts";
import { KERNEL_COMMAND_LINE } from "../kernel_command_line.ts";
import type { ImageMaking, MachineStart, NestedMachine } from "../nested_machine.ts";
import { CONSOLE_LOG, JOB_DISK, RunFolder } from "../run_folder.ts";
import { saveState } from "./machine_state.ts";
import { QemuMachine, socketName } from "./qemu_machine.ts";

/** What can be chosen about the machine. Each choice has a snapshot of its own. */
export interface QemuSvmOptions {
  /** Bytes of memory; 2 GiB unless told. */
  memory?: number;
  /** Number of processors; 2 unless told. */
  processors?: number;
}

const MEMORY = 2 * 1024 ** 3;
const PROCESSORS = 2;

/** The machine's memory, in the image's folder. */
const MEMORY_FILE = "memory";

/** The state of its processors and devices, in the image's folder. */
const STATE_FILE = "state";

/** Finds the virtio ports by their names, because their devices have only numbers. */
const OPEN_PORTS = `
tries=0
while [ ! -e /dev/vmexit-files ]; do
  for port in /sys/class/virtio-ports/*; do
    name=$(cat "$port/name" 2>/dev/null) && [ -n "$name" ] && ln -sf "/dev/\${port##*/}" "/dev/vmexit-$name"
  done
  tries=$((tries + 1))
  [ $tries -lt 500 ] || die "the ports to the host are missing"
  usleep 10000
done
exec 3<>/dev/vmexit-control 4>/dev/vmexit-stdout 5>/dev/vmexit-stderr 6>/dev/vmexit-files
`;

/** A value within a QEMU option, where a comma separates options unless doubled. */
function optionValue(value: string): string {
  return value.replaceAll(",", ",,");
}

function machineArguments(
  vmlinuz: string,
  folder: string,
  options: Required<QemuSvmOptions>,
  shared: boolean,
): string[] {
  const path = optionValue(`${folder}/${MEMORY_FILE}`);
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
    ...["-kernel", vmlinuz, "-append", KERNEL_COMMAND_LINE],
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

/** Boots the machine until it waits for its word. Its memory is a file that is shared with QEMU, so only the state is written out. */
async function takeSnapshot(
  name: string,
  options: Required<QemuSvmOptions>,
  making: ImageMaking,
): Promise<void> {
  const { program, parts, folder, signal } = making;
  await using run = await RunFolder.create();
  await createJobDisk(run.path);
  const initramfs = `${run.path}/initramfs`;
  await Deno.writeFile(initramfs, making.initramfs);
  const args = [...machineArguments(parts.vmlinuz, folder, options, true), "-initrd", initramfs];
  await using machine = await QemuMachine.start(program, args, { name, run, signal });
  const qmp = await machine.monitor();
  await bootUntilReady(machine);
  await Promise.race([saveState(qmp, `${folder}/${STATE_FILE}`), machine.process.failure]);
}

async function resume(
  name: string,
  options: Required<QemuSvmOptions>,
  { program, vmlinuz, folder, run, signal }: MachineStart,
): Promise<QemuMachine> {
  const args = [...machineArguments(vmlinuz, folder, options, false), "-incoming", "defer"];
  const machine = await QemuMachine.start(program, args, { name, run, signal });
  machine.load(`${folder}/${STATE_FILE}`);
  return machine;
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
  const name = "qemu-svm";
  return {
    name,
    description: "QEMU emulating AMD SVM",
    program: "qemu-system-x86_64",
    packages: ["qemu-system-x86"],
    kernelModules: ["virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4", "kvm_amd"],
    timeoutScale: 20,
    env: {},
    inside: {
      openPorts: OPEN_PORTS,
      keepState: "",
      awaitWord: "read -r word seconds nanoseconds <&3",
      disk: "/dev/vda",
      programs: {},
    },
    recipe: machineArguments("vmlinuz", "image", chosen, false).join(" "),
    makeImage: (making) => takeSnapshot(name, chosen, making),
    start: (start) => resume(name, chosen, start),
  };
}
