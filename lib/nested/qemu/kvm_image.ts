import { agentSource } from "../../kvm/remote/agent.ts";
import {
  IMAGE_FILES,
  imageFolder,
  KERNEL_MODULES,
  QEMU_SVM,
} from "../../kvm/remote/machine_image.ts";
import { KERNEL_OPTIONS, qemuArguments } from "../../kvm/remote/qemu_arguments.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { assemble } from "../assemble.ts";
import { type BootParts, bootParts } from "../boot_parts.ts";
import { requireFreeSpace, withCache } from "../cache_folder.ts";
import { cpio, type CpioEntry } from "../cpio.ts";
import { FileLock } from "../file_lock.ts";
import { MachineProcess } from "../machine_process.ts";
import { requireNasm } from "../nasm.ts";
import { NestedError } from "../nested_error.ts";
import type { MachineProgram } from "../nested_machine.ts";
import type { ProgressListener } from "../packages.ts";
import { makeSealedFolder, openSealedFolder, pruneImages } from "../sealed_folder.ts";
import { CONSOLE_LOG, RunFolder } from "../run_folder.ts";
import { STATIC_ELF_HEADER } from "../guest_programs.ts";
import { withDeadline } from "../streams.ts";
import { qemuVersion } from "./carry_image.ts";
import { Qmp, saveState } from "./qmp.ts";

/** The program that runs the machine. */
export const QEMU: MachineProgram = {
  program: "qemu-system-x86_64",
  packages: ["qemu-system-x86"],
};

/** How long the machine may take to boot on a busy host. */
const BOOT_SECONDS = 240;
const POLL_MILLISECONDS = 20;
/** As long as the agent takes to find that nobody asks it anything, and to wait for its bell. */
const SETTLE_MILLISECONDS = 300;

const WINDOW_FILE = "window";
const DONE_FILE = "done";

/** The first file system: folders, modules, and the agent as `/init`. */
async function initramfs(parts: BootParts, nasm: string): Promise<Uint8Array<ArrayBuffer>> {
  const modules: CpioEntry[] = [];
  for (const [index, path] of parts.modules.entries()) {
    modules.push({ path: `modules/${index}.ko`, content: await Deno.readFile(path) });
  }
  const source = `${STATIC_ELF_HEADER}${agentSource(modules.map(({ path }) => `/${path}`))}`;
  const init = { path: "init", content: await assemble(nasm, "agent", source) };
  return cpio([{ path: "dev" }, { path: "modules" }, ...modules, init]);
}

async function makeImage(
  program: string,
  parts: BootParts,
  nasm: string,
  folder: string,
  signal?: AbortSignal,
): Promise<void> {
  await using run = await RunFolder.create();
  const files = ["initramfs", WINDOW_FILE, DONE_FILE].map((name) => `${run.path}/${name}`);
  const [archive, window, done] = files;
  await Deno.writeFile(archive, await initramfs(parts, nasm));
  const args = [
    ...qemuArguments({
      memory: `${folder}/${IMAGE_FILES.memory}`,
      keepsMemory: true,
      window,
      connections: {
        bell: "null",
        signal: "null",
        done: `file,path=${DONE_FILE}`,
        console: `file,path=${CONSOLE_LOG}`,
        monitor: "stdio",
      },
    }),
    ...["-kernel", parts.vmlinuz, "-initrd", archive, "-append", KERNEL_OPTIONS],
  ];
  await using machine = await MachineProcess.start(program, args, {
    name: QEMU_SVM,
    run,
    speaks: true,
    signal,
  });
  const qmp = new Qmp(machine.stdio, machine.failure);
  const answered = async () => {
    while ((await Deno.stat(done).catch(() => ({ size: 0 }))).size === 0) {
      await pause(POLL_MILLISECONDS);
    }
    await pause(SETTLE_MILLISECONDS);
  };
  await withDeadline(
    BOOT_SECONDS,
    Promise.race([qmp.open().then(answered), machine.failure]),
    () => machine.lateness(`The emulated machine did not come up within ${BOOT_SECONDS} seconds`),
  );
  await Promise.race([
    saveState(qmp, `${folder}/${IMAGE_FILES.state}`),
    machine.failure,
  ]);
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Makes the image of the machine whose KVM tests use where there is no other, unless it is in the cache, whole and made
 * by this QEMU.
 *
 * @param program The path of QEMU.
 * @param onProgress Is told what is done.
 * @param signal Ends it.
 * @throws {NestedError} When something it is made of cannot be had, or the machine does not boot.
 */
export async function requireKvmImage(
  program: string,
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<void> {
  const identity = processCalls().modified(program);
  if (identity === undefined) throw new NestedError(`Cannot find QEMU: ${program} is no file`);
  await withCache(async (cache) => {
    const folder = imageFolder(cache);
    await Deno.mkdir(`${cache}/machines`, { recursive: true });
    const isThere = async () => (await openSealedFolder(folder))?.made.identity === identity;
    using _lock = await FileLock.exclusive(`${folder}.lock`, signal);
    if (await isThere()) return;
    const nasm = await requireNasm(onProgress, signal);
    const parts = await bootParts(QEMU_SVM, KERNEL_MODULES, onProgress, signal);
    await pruneImages(`${cache}/machines`, QEMU_SVM);
    await requireFreeSpace(cache);
    onProgress("booting the emulated machine for the first time");
    await makeSealedFolder(folder, async (temporary) => {
      await makeImage(program, parts, `${nasm.folder}/nasm`, temporary, signal);
      const version = await qemuVersion(program);
      return { machine: QEMU_SVM, program, identity, version, kernel: parts.kernel };
    });
  });
}
