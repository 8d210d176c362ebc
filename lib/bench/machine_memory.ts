import { Image } from "../guest/image.ts";
import { boot } from "../machine/boot/boot.ts";
import { emulatedMachineName } from "../machine/host/emulated_machine.ts";
import { QEMU_SVM } from "../kvm/remote/machine_image.ts";
import { REAL_MODE } from "../x86/layout.ts";

/** What machines take of memory. */
export interface MachineMemory {
  /** Over how many machines it is the mean. */
  readonly machines: number;
  /** Bytes of this process's resident set for each. */
  readonly process: number;
  /**
   * Bytes of the kernel for each, by what all of the kernel grew: on a host that does other things it has those as well.
   * Undefined where the KVM is an emulated machine's, and where /proc/meminfo may not be read.
   */
  readonly kernel?: number;
}

/** What of the kernel's memory a VM has a part in (Documentation/filesystems/proc.rst, "meminfo"). */
const KERNEL_FIELDS = ["Slab", "KernelStack", "PageTables", "SecPageTables", "Percpu"] as const;
const KIB = 1024;

const HLT = 0xf4;

/**
 * Keeps machines of one page alive, each of which has run, and says how much memory that takes: of this process, and of the
 * kernel.
 */
export function machineMemory(machines = 50): MachineMemory {
  using all = new DisposableStack();
  const image = Image.fromBytes(new Uint8Array([HLT]), { origin: REAL_MODE.code });
  const another = () => {
    const vm = all.use(boot(image, { mode: "real", memory: "4K", reuse: false }));
    vm.run();
  };
  // What the first of all needs stays, whatever comes behind it.
  another();
  const kernelBefore = kernelMemory();
  const before = Deno.memoryUsage().rss;
  for (let count = 0; count < machines; count++) another();
  const process = Math.max(0, Deno.memoryUsage().rss - before) / machines;
  const kernelAfter = kernelMemory();
  if (kernelBefore === undefined || kernelAfter === undefined) return { machines, process };
  return { machines, process, kernel: Math.max(0, kernelAfter - kernelBefore) / machines };
}

function kernelMemory(): number | undefined {
  if (emulatedMachineName() === QEMU_SVM) return undefined;
  let text: string;
  try {
    text = Deno.readTextFileSync("/proc/meminfo");
  } catch {
    return undefined;
  }
  return KIB * KERNEL_FIELDS.reduce((sum, field) => {
    const [, size = 0] = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text) ?? [];
    return sum + Number(size);
  }, 0);
}
