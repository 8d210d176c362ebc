import { emulatedMachine } from "../../kvm/remote/kvm_choice.ts";
import { processor } from "../prepare_kvm.ts";

/** The environment variable that says, inside an emulated machine, which one it is. */
const NESTED_VARIABLE = "VMEXIT_NESTED";

/** The programs that emulate machines, by the first part of a machine's name. */
const EMULATORS: Readonly<Record<string, string>> = { qemu: "QEMU", bochs: "Bochs" };

/** Which KVM the guests run on, for the head of a report: this machine's, or an emulated machine's. */
export function kvmInUse(
  nested: string | undefined = Deno.env.get(NESTED_VARIABLE) ?? emulatedMachine(),
): string {
  if (!nested) return "this machine's own";
  const emulator = EMULATORS[nested.split("-")[0]] ?? "an emulated machine";
  return `nested in ${emulator} (${nested}): real exits, no real timing`;
}

/** The processor's vendor and the kernel's version, as the process sees them. */
export async function processorAndKernel(): Promise<string> {
  const { vendor } = await processor();
  return `${vendor}, Linux ${Deno.osRelease()}`;
}
