import { chosenKvm, KVM_UNUSABLE, type KvmDevice, kvmDevice } from "../kvm/remote/kvm_choice.ts";
import {
  cacheFolder,
  findBinutils,
  findNasm,
  findProgram,
  installCommand,
  QEMU,
} from "../nested/mod.ts";
import { describeKvm, machineProgram, type Processor, processor } from "./prepare_kvm.ts";

const MEGABYTE = 1e6;
const LABEL_WIDTH = 20;

/** What to do on a machine without a usable /dev/kvm. */
function remedy(
  device: Exclude<KvmDevice, "usable">,
  { extension, hypervisor }: Processor,
): string {
  const reason = KVM_UNUSABLE[device];
  if (device === "forbidden") return reason;
  if (extension !== undefined) {
    return `${reason}, though the processor can: load the module (sudo modprobe kvm-intel or kvm-amd), or switch ` +
      "virtualization on in the firmware's setup";
  }
  return hypervisor
    ? `${reason}. This is itself a virtual machine: nested virtualization would have to be switched on at its host`
    : `${reason}. Switch VT-x or SVM on in the firmware's setup`;
}

/**
 * `vmexit doctor`: prints what this machine has, which KVM tests would use and what to do about what is missing.
 *
 * @param _args None.
 * @returns 0 if tests can run now or after a set-up that needs nobody, else 1.
 */
export async function doctor(_args: readonly string[]): Promise<number> {
  const line = (label: string, text: string) => console.log(`${label.padEnd(LABEL_WIDTH)}${text}`);
  const cpu = await processor();
  const device = kvmDevice();
  const choice = chosenKvm();
  const machine = machineProgram(choice) ?? QEMU;
  const program = await findProgram(machine.program);
  const nasm = await findNasm();
  const apt = await findProgram("apt-get");
  const canInstall = apt !== undefined &&
    (Deno.uid() === 0 || await findProgram("sudo") !== undefined);

  line("Deno", Deno.version.deno);
  line("processor", `${cpu.vendor}, ${cpu.extension ?? "no virtualization extension reported"}`);
  line("/dev/kvm", device === "usable" ? device : remedy(device, cpu));
  const missing = async (packages: readonly string[]) =>
    canInstall
      ? "missing; vmexit setup installs it"
      : `missing; type: ${await installCommand(packages)}`;
  line("NASM", nasm === undefined ? await missing(["nasm"]) : `${nasm.version} in ${nasm.folder}`);
  line("binutils", await findBinutils() ?? await missing(["binutils"]));
  line(
    machine.program,
    program ??
      (choice.kvm === "host" ? "missing, and not needed" : await missing(machine.packages)),
  );
  const size = await folderSize(cacheFolder());
  line("cache", `${cacheFolder()}, ${Math.round(size / MEGABYTE)} MB`);
  const ready = (nasm !== undefined || apt !== undefined) &&
    (choice.kvm === "host" || program !== undefined || canInstall);
  line("tests use", ready ? describeKvm(choice) : "nothing yet: do what is said above");
  return ready ? 0 : 1;
}

const BLOCK = 512;

/**
 * The bytes that the files below a folder take on the disk; 0 when it does not exist. Sparse files count as they are
 * stored.
 */
async function folderSize(folder: string): Promise<number> {
  let size = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory) size += await folderSize(path);
      else size += ((await Deno.lstat(path)).blocks ?? 0) * BLOCK;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return size;
}
