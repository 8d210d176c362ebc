import { createHash } from "node:crypto";
import type { Libc } from "../../ffi/libc.ts";
import { type ProcessCalls, processCalls } from "../../ffi/process_calls.ts";
import { readText } from "../../ffi/read_text.ts";
import { agentSource } from "./agent.ts";
import { KERNEL_OPTIONS, qemuArguments } from "./qemu_arguments.ts";
import { O } from "../../ffi/files.ts";
import { HostError } from "../../ffi/errors.ts";
import { libc as localLibc } from "../../ffi/real_libc.ts";

/** The emulated machine's name, in `VMEXIT_KVM` and in the cache. */
export const QEMU_SVM = "qemu-svm";

/** The files of an image. */
export const IMAGE_FILES = {
  /** The machine's own memory. */
  memory: "memory",
  /** The state of its processor and devices. */
  state: "state",
  /** What it was made of, and what proves it whole. */
  manifest: "manifest.json",
} as const;

/** The kernel modules that give the machine its ports, the window and `/dev/kvm`. */
export const KERNEL_MODULES: readonly string[] = [
  "virtio_pci",
  "virtio_console",
  "device_dax",
  "dax_hmem",
  "kvm_amd",
];

const KEY_LENGTH = 16;

/** An image from which a machine can be started. */
export interface MachineImage {
  /** Its folder. */
  readonly folder: string;
  /** The path of QEMU. */
  readonly program: string;
}

/**
 * What tells the images of one version of vmexit from those of another: all that an image is made of and this code
 * knows.
 */
function imageKey(): string {
  const chardev = "null";
  const connections = {
    bell: chardev,
    signal: chardev,
    done: chardev,
    console: chardev,
    monitor: chardev,
  };
  const start = { memory: "", keepsMemory: true, window: "", connections };
  const recipe = [agentSource(KERNEL_MODULES), ...qemuArguments(start), KERNEL_OPTIONS];
  return createHash("sha256").update(recipe.join("\n")).digest("hex").slice(0, KEY_LENGTH);
}

/** Where the image is, or is to be, in the folder of all that vmexit keeps. */
export function imageFolder(cache: string): string {
  return `${cache}/machines/${QEMU_SVM}-${imageKey()}`;
}

/** Where everything that vmexit fetches and makes is kept: `$XDG_CACHE_HOME/vmexit`, or `~/.cache/vmexit`. */
export function cacheFolderOf(getenv: (name: string) => string | undefined): string {
  const base = getenv("XDG_CACHE_HOME");
  // The base directory specification says that a relative path there is to be ignored.
  if (base !== undefined && base.startsWith("/")) return `${base}/vmexit`;
  return `${getenv("HOME") ?? "/root"}/.cache/vmexit`;
}

/**
 * The image that `vmexit setup` made; undefined where there is none, or where QEMU is not the one that made it.
 *
 * @param calls Reads the environment; others in tests.
 */
export function findImage(
  libc: Libc,
  calls: Pick<ProcessCalls, "getenv" | "modified"> = processCalls(),
): MachineImage | undefined {
  const folder = imageFolder(cacheFolderOf(calls.getenv));
  const manifest = readText(libc, `${folder}/${IMAGE_FILES.manifest}`);
  if (manifest === undefined) return undefined;
  const { made: { program, identity } } = JSON.parse(manifest);
  return calls.modified(program) === identity ? { folder, program } : undefined;
}

const COMMAND_LINE = new URL("../../cli/main.ts", import.meta.url);

/** How people type it. */
const SETUP = "vmexit setup (deno run -A jsr:@vmexit/vmexit/cli setup)";

/**
 * The image of the emulated machine; where there is none, `vmexit setup` makes it first, which is seen on standard
 * error. Nothing is installed on this system: that is left to a person who types the command.
 *
 * @param choice Why there is no other KVM.
 * @param again Whether one that is there is to be looked through, and made anew if it is damaged.
 * @throws {HostError} When it cannot be made; it says what to do.
 */
export function requireImage(
  choice: { readonly because: string },
  again = false,
): MachineImage {
  const libc = localLibc();
  const found = findImage(libc);
  if (found !== undefined && !again) return found;
  const calls = processCalls();
  const nothing = libc.open("/dev/null", O.RDWR);
  const deno = calls.readlink("/proc/self/exe")!;
  const env = (readText(libc, "/proc/self/environ") ?? "").split("\0").filter((each) =>
    each !== ""
  );
  const status = calls.wait(calls.spawn({
    program: deno,
    args: [
      deno,
      "run",
      "-A",
      "--no-config",
      "--no-lock",
      COMMAND_LINE.href,
      "setup",
      "--no-install",
    ],
    env: [...env.filter((each) => !each.startsWith("VMEXIT_KVM=")), "VMEXIT_KVM=qemu-svm"],
    descriptors: [nothing, 2, 2],
  }));
  libc.close(nothing);
  const made = findImage(libc);
  if (made !== undefined) return made;
  throw new HostError(
    `Cannot use KVM: ${choice.because}; and the emulated machine that is used instead could not be made ` +
      `(exit code ${
        status >> 8
      }; the reason is above). Type ${SETUP}, which installs what it needs; or enable ` +
      "virtualization (VT-x or AMD-V) in the firmware and load kvm_intel or kvm_amd; or, in a virtual machine, have its host " +
      "enable nested virtualization.",
  );
}
