/** Whether this process can use /dev/kvm: it is missing, closed to us, or opens for reading and writing. */
export type KvmDevice = "missing" | "forbidden" | "usable";

/**
 * Tries to open /dev/kvm.
 *
 * @param path the device; another only in tests
 * @returns what came of it
 *
 * @example
 * ```ts
 * import { kvmDevice } from "@vmexit/vmexit/nested";
 *
 * console.log(kvmDevice("/nowhere")); // "missing"
 * ```
 */
export function kvmDevice(path = "/dev/kvm"): KvmDevice {
  try {
    Deno.openSync(path, { read: true, write: true }).close();
    return "usable";
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return error instanceof Deno.errors.PermissionDenied ? "forbidden" : "missing";
  }
}

/** What to do when /dev/kvm is there but closed to this user. */
export const KVM_FORBIDDEN_REMEDY: string =
  "/dev/kvm is there, but this user may not open it. Join its group: sudo usermod -aG kvm $USER, and log in again; " +
  "or open it to all, as on CI machines: " +
  `echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' | ` +
  "sudo tee /etc/udev/rules.d/99-kvm4all.rules && sudo udevadm control --reload-rules && " +
  "sudo udevadm trigger --name-match=kvm";
