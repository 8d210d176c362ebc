import { ERRNO, HostError } from "../../ffi/errors.ts";
import { O } from "../../ffi/files.ts";
import type { Libc } from "../../ffi/libc.ts";
import { libc as localLibc } from "../../ffi/real_libc.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { QEMU_SVM, requireImage } from "./machine_image.ts";
import { RemoteLibc } from "./remote_libc.ts";

/** The environment variable that makes the choice. */
export const KVM_VARIABLE = "VMEXIT_KVM";

/** The machine inside which commands can run, and which no process can reach from outside. */
const BOCHS_VMX = "bochs-vmx";

const WISHES = ["host", "nested", QEMU_SVM, BOCHS_VMX] as const;

/**
 * What /dev/kvm is to this process: missing; closed to this user; open, but without a processor that virtualizes, as
 * with kvm_pvm, which runs only guests made for it; or usable.
 */
export type KvmDevice = "missing" | "forbidden" | "software" | "usable";

/** A KVM to use: this machine's, or that of an emulated machine, and why it is not this machine's. */
export type KvmChoice =
  | { readonly kvm: "host" }
  | { readonly kvm: typeof QEMU_SVM | typeof BOCHS_VMX; readonly because: string };

/** What to do when /dev/kvm is there but closed to this user. */
export const KVM_FORBIDDEN_REMEDY: string =
  "/dev/kvm is there, but this user may not open it. Join its group: sudo usermod -aG kvm $USER, and log in again; " +
  "or open it to all, as on CI machines: " +
  `echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' | ` +
  "sudo tee /etc/udev/rules.d/99-kvm4all.rules && sudo udevadm control --reload-rules && " +
  "sudo udevadm trigger --name-match=kvm";

/** Why this machine's KVM is not used. */
export const KVM_UNUSABLE: Readonly<Record<Exclude<KvmDevice, "usable">, string>> = {
  missing: "this machine has no /dev/kvm",
  forbidden: KVM_FORBIDDEN_REMEDY,
  software:
    "/dev/kvm is there, but the processor reports neither VT-x (vmx) nor SVM (svm): it runs only guests made for it",
};

/** What a processor must report for KVM to run any guest: Intel's VT-x or AMD's SVM. */
const EXTENSIONS = /^flags\s*:.*\b(vmx|svm)\b/m;
/** Enough of the processors' description to have the first one. */
const DESCRIPTION_SIZE = 8192;

/** How a device that is not there fails to open. */
const NO_DEVICE: ReadonlySet<number> = new Set([ERRNO.ENOENT, ERRNO.ENXIO, ERRNO.ENODEV]);

/**
 * Looks whether this machine's KVM can be used: /dev/kvm opens for reading and writing, and the processor reports VT-x
 * or SVM.
 *
 * @param device The device's path; another only in tests.
 * @param processor The path of the processor's description; another only in tests.
 *
 * @example
 * ```ts no-eval
 * import { kvmDevice } from "./kvm_choice.ts";
 *
 * console.log(kvmDevice("/nowhere")); // "missing"
 * ```
 */
export function kvmDevice(device = "/dev/kvm", processor = "/proc/cpuinfo"): KvmDevice {
  const libc = localLibc();
  const fd = libc.open(device, O.RDWR | O.CLOEXEC);
  if (fd < 0) return NO_DEVICE.has(libc.errno()) ? "missing" : "forbidden";
  libc.close(fd);
  const description = libc.open(processor, 0);
  const bytes = new Uint8Array(DESCRIPTION_SIZE);
  const count = Math.max(0, libc.read(description, bytes));
  if (description >= 0) libc.close(description);
  return EXTENSIONS.test(new TextDecoder().decode(bytes.subarray(0, count)))
    ? "usable"
    : "software";
}

/**
 * Which KVM is to be used: what `VMEXIT_KVM` says, else this machine's if it is usable, else an emulated machine's.
 *
 * @param device What this machine has.
 * @param wish The value of the variable.
 * @throws {RangeError} When the variable has another value than `host`, `nested` (or `qemu-svm`) and `bochs-vmx`.
 */
export function kvmChoice(device: KvmDevice, wish: string | undefined): KvmChoice {
  if (wish === undefined || wish === "") {
    return device === "usable" ? { kvm: "host" } : { kvm: QEMU_SVM, because: KVM_UNUSABLE[device] };
  }
  if (wish === "host") return { kvm: "host" };
  const because = `${KVM_VARIABLE} says so`;
  if (wish === "nested" || wish === QEMU_SVM) return { kvm: QEMU_SVM, because };
  if (wish === BOCHS_VMX) return { kvm: BOCHS_VMX, because };
  throw new RangeError(
    `Cannot take ${KVM_VARIABLE} as a choice: "${wish}" is not one of ${WISHES.join(", ")}`,
  );
}

let chosen: KvmChoice | undefined;
let reaching: Libc | undefined;
let remote: RemoteLibc | undefined;

/**
 * The choice of this process, made when it is first asked for.
 *
 * @throws As {@linkcode kvmChoice}, and as {@linkcode localLibc} where the C library cannot be called.
 */
export function chosenKvm(): KvmChoice {
  localLibc();
  return chosen ??= kvmChoice(kvmDevice(), processCalls().getenv(KVM_VARIABLE));
}

/**
 * The C library by whose calls KVM is reached: this process's, or that of the emulated machine that has the KVM. `boot`
 * and `Kvm.open` use it unless they are given another; a test that injects faults replaces some of its calls.
 *
 * @throws {HostError} When there is no KVM to be reached; the message says what to do.
 * @throws {Deno.errors.NotCapable} When FFI is not permitted.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { kvmLibc } from "@vmexit/vmexit/kvm";
 *
 * const libc = { ...kvmLibc(), ioctl: () => -1, errno: () => 12 };
 * boot(asm`hlt`, { libc }); // fails with ENOMEM
 * ```
 */
export function kvmLibc(): Libc {
  if (reaching !== undefined) return reaching;
  const choice = chosenKvm();
  if (choice.kvm === BOCHS_VMX) {
    throw new HostError(
      `Cannot use the KVM of ${BOCHS_VMX} from outside: ${KVM_VARIABLE} asks for it, and only whole commands run in that ` +
        "machine. Run the tests with `vmexit test`, or with another value of the variable.",
    );
  }
  const local = localLibc();
  if (choice.kvm === "host" && Deno.build.arch !== "x86_64") {
    throw new HostError(
      `Cannot use this machine's KVM: ${KVM_VARIABLE} asks for it, and it is one for ${Deno.build.arch}. Leave the variable out: ` +
        "an emulated machine has one for x86-64.",
    );
  }
  if (choice.kvm === "host") return reaching = local;
  remote = new RemoteLibc(local, (again) => requireImage(choice, again));
  return reaching = remote.libc;
}

/** The emulated machine whose KVM is reached, where it is one's: for what only those have. */
export function remoteLibc(): RemoteLibc | undefined {
  kvmLibc();
  return remote;
}

/** Whether the KVM in use is that of an emulated machine, and which; undefined where it is this machine's. */
export function emulatedMachine(): string | undefined {
  const { kvm } = chosenKvm();
  return kvm === "host" ? undefined : kvm;
}
