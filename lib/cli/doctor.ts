import {
  cacheFolder,
  findNasm,
  findProgram,
  installCommand,
  type KvmDevice,
  kvmDevice,
  qemuSvm,
} from "../nested/mod.ts";
import { KVM_UNUSABLE, KVM_VARIABLE, kvmChoice } from "./choose_kvm.ts";
import { folderSize } from "./folder_size.ts";
import { type Processor, processor } from "./processor.ts";

const MEGABYTE = 1e6;
const LABEL_WIDTH = 12;

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
 * @param _args none
 * @returns 0 if tests can run now or after a set-up that needs nobody, else 1
 */
export async function doctor(_args: readonly string[]): Promise<number> {
  const line = (label: string, text: string) => console.log(`${label.padEnd(LABEL_WIDTH)}${text}`);
  const cpu = await processor();
  const device = kvmDevice();
  const choice = kvmChoice(device, Deno.env.get(KVM_VARIABLE));
  const machine = choice.kvm === "nested" ? choice.machine : qemuSvm();
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
      ? "missing; the first test installs it"
      : `missing; type: ${await installCommand(packages)}`;
  line("NASM", nasm === undefined ? await missing(["nasm"]) : `${nasm.version} in ${nasm.folder}`);
  line(
    machine.description.split(" ")[0],
    program ??
      (choice.kvm === "host" ? "missing, and not needed" : await missing(machine.packages)),
  );
  const size = await folderSize(cacheFolder());
  line("cache", `${cacheFolder()}, ${Math.round(size / MEGABYTE)} MB`);
  const nested = choice.kvm === "nested";
  const ready = (nasm !== undefined || apt !== undefined) &&
    (!nested || program !== undefined || canInstall);
  line(
    "tests use",
    !ready
      ? "nothing yet: do what is said above"
      : nested
      ? `a nested machine: ${machine.description}; right results, no real timing`
      : "this machine's KVM",
  );
  return ready ? 0 : 1;
}
