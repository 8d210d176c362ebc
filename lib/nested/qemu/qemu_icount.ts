import { EMULATED_KERNEL_OPTIONS } from "../../kvm/remote/qemu_arguments.ts";
import { IMAGE_FILES } from "../../kvm/remote/machine_image.ts";
import { bootUntilReady } from "../boot_until_ready.ts";
import { PORTS } from "../init_script.ts";
import { createJobDisk } from "../job_disk.ts";
import type { ImageMaking, MachineStart, NestedMachine } from "../nested_machine.ts";
import { CONSOLE_LOG, JOB_DISK, RunFolder } from "../run_folder.ts";
import { QEMU } from "./kvm_image.ts";
import { QemuMachine, socketName } from "./qemu_machine.ts";
import { saveState } from "./qmp.ts";

const NAME = "qemu-icount";
const MEBIBYTES = 1024;

/** One instruction is a nanosecond of the machine's clocks, its TSC among them. */
const TSC_KILOHERTZ = 1_000_000;

/** The kernel measures the TSC by other clocks, and would be off by some millionths. */
const KERNEL_OPTIONS = `${EMULATED_KERNEL_OPTIONS} tsc_early_khz=${TSC_KILOHERTZ}`;

/**
 * V8's threads would run in between, on the one processor, whenever the kernel sees fit. And it compiles what runs often
 * after fewer runs than by default: to come to the steady state would take most of the time.
 */
const V8_FLAGS = [
  "--single-threaded",
  "--no-lazy-feedback-allocation",
  "--invocation-count-for-turbofan=500",
  "--invocation-count-for-maglev=100",
  "--invocation-count-for-osr=100",
  "--invocation-count-for-maglev-osr=50",
  "--minimum-invocations-after-ic-update=50",
];

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

/**
 * QEMU's options. `shift=0` makes an instruction one nanosecond; `sleep=off` lets an idle machine's clock jump to its
 * next timer instead of waiting for it.
 */
function machineArguments(vmlinuz: string, folder: string, keepsMemory: boolean): string[] {
  const path = optionValue(`${folder}/${IMAGE_FILES.memory}`);
  const backend = `memory-backend-file,id=ram,size=${MEBIBYTES}M,mem-path=${path}`;
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", "q35,memory-backend=ram", "-m", `${MEBIBYTES}M`],
    ...["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"],
    // Without fast string instructions, because QEMU emulates them byte by byte where the kernel and libc expect a gain.
    ...["-cpu", "max,-erms,-fsrm"],
    ...["-object", `${backend},share=${keepsMemory ? "on" : "off"}`],
    ...["-qmp", "stdio"],
    ...["-kernel", vmlinuz, "-append", KERNEL_OPTIONS],
    ...["-chardev", `file,id=console,path=${CONSOLE_LOG}`, "-serial", "chardev:console"],
    ...[
      "-drive",
      // Errors are reported inside: the default is to pause the machine when the host's disk is full.
      `if=none,id=job,format=raw,cache=unsafe,file.locking=off,werror=report,rerror=report,file=${JOB_DISK}`,
      "-device",
      "virtio-blk-pci,drive=job",
    ],
    ...["-device", "virtio-serial-pci"],
    ...PORTS.flatMap((port, index) => [
      ...["-chardev", `socket,id=${port},path=${socketName(port)}`],
      ...["-device", `virtserialport,chardev=${port},name=${port},nr=${index + 1}`],
    ]),
  ];
}

/** Boots the machine until it waits for its word. Its memory is a file, so that only the rest of its state is written. */
async function makeImage(making: ImageMaking): Promise<void> {
  const { program, parts, folder, signal } = making;
  await using run = await RunFolder.create();
  await createJobDisk(run.path);
  const initramfs = `${run.path}/initramfs`;
  await Deno.writeFile(initramfs, making.initramfs);
  const args = [...machineArguments(parts.vmlinuz, folder, true), "-initrd", initramfs];
  await using machine = await QemuMachine.start(program, args, { name: NAME, run, signal });
  const qmp = await machine.monitor();
  await bootUntilReady(machine);
  await Promise.race([saveState(qmp, `${folder}/${IMAGE_FILES.state}`), machine.process.failure]);
}

async function resume(
  { program, vmlinuz, folder, run, signal }: MachineStart,
): Promise<QemuMachine> {
  const args = [...machineArguments(vmlinuz, folder, false), "-incoming", "defer"];
  const machine = await QemuMachine.start(program, args, { name: NAME, run, signal });
  machine.load(`${folder}/${IMAGE_FILES.state}`);
  return machine;
}

/**
 * QEMU as an instruction clock: it emulates one AMD processor with SVM, so that Linux's kvm_amd works inside, and a
 * nanosecond of the machine's clocks is one instruction that it has executed, of programs, of their kernel, and of the
 * guests of its KVM. So what is measured inside does not depend on the host, nor on how busy it is.
 *
 * @returns The machine, for {@linkcode NestedOptions.machine}.
 *
 * @example
 * ```ts
 * import { qemuIcount } from "@vmexit/vmexit/nested";
 *
 * console.log(qemuIcount().description); // "QEMU counting instructions"
 * ```
 */
export function qemuIcount(): NestedMachine {
  return {
    name: NAME,
    description: "QEMU counting instructions",
    ...QEMU,
    kernelModules: ["virtio_pci", "virtio_blk", "virtio_console", "ext4", "kvm_amd"],
    timeoutScale: 20,
    env: { DENO_V8_FLAGS: V8_FLAGS.join(",") },
    inside: {
      openPorts: OPEN_PORTS,
      keepState: "",
      awaitWord: "read -r word seconds nanoseconds <&3",
      disk: "/dev/vda",
      programs: {},
    },
    recipe: machineArguments("vmlinuz", "image", false).join(" "),
    makeImage,
    start: resume,
  };
}
