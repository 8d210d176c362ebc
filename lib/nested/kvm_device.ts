/**
 * What /dev/kvm is to this process: missing; closed to this user; open, but without a processor that virtualizes, as with
 * kvm_pvm, which runs only guests made for it; or usable.
 */
export type KvmDevice = "missing" | "forbidden" | "software" | "usable";

/** What a processor must report for KVM to run any guest: Intel's VT-x or AMD's SVM. */
const EXTENSIONS = /^flags\s*:.*\b(vmx|svm)\b/m;

/**
 * Looks whether this machine's KVM can be used: /dev/kvm opens for reading and writing, and the processor reports VT-x or SVM.
 *
 * @param device the device's path; another only in tests
 * @param processor the path of the processor's description; another only in tests
 *
 * @example
 * ```ts
 * import { kvmDevice } from "@vmexit/vmexit/nested";
 *
 * console.log(kvmDevice("/nowhere")); // "missing"
 * ```
 */
export function kvmDevice(device = "/dev/kvm", processor = "/proc/cpuinfo"): KvmDevice {
  try {
    Deno.openSync(device, { read: true, write: true }).close();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return error instanceof Deno.errors.PermissionDenied ? "forbidden" : "missing";
  }
  return EXTENSIONS.test(Deno.readTextFileSync(processor)) ? "usable" : "software";
}

/** What to do when /dev/kvm is there but closed to this user. */
export const KVM_FORBIDDEN_REMEDY: string =
  "/dev/kvm is there, but this user may not open it. Join its group: sudo usermod -aG kvm $USER, and log in again; " +
  "or open it to all, as on CI machines: " +
  `echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' | ` +
  "sudo tee /etc/udev/rules.d/99-kvm4all.rules && sudo udevadm control --reload-rules && " +
  "sudo udevadm trigger --name-match=kvm";
