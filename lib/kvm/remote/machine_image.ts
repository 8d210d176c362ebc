import { createHash } from "node:crypto";
import type { Libc } from "../../ffi/libc.ts";
import { type ProcessCalls, processCalls } from "../../ffi/process_calls.ts";
import { readText } from "../../ffi/read_text.ts";
import { agentSource } from "./agent.ts";
import { KERNEL_OPTIONS, qemuArguments } from "./qemu_arguments.ts";

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
 * What tells the images of one version of vmexit from those of another: all that an image is made of and this code knows.
 */
export function imageKey(): string {
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
