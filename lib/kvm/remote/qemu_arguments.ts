import { DONE_PORT, PORTS, WINDOW_MEMORY, WINDOW_PHYSICAL, WINDOW_SIZE } from "./window.ts";

const MEBIBYTE = 1024 * 1024;

/** The machine's own memory, which ends where the window begins. */
const MEMORY_SIZE = WINDOW_PHYSICAL;

/** What the machine is connected with, as values of QEMU's `-chardev` without their ids. */
export interface QemuConnections {
  /** Rings the agent. */
  readonly bell: string;
  /** Signals eventfds. */
  readonly signal: string;
  /** Gets a byte for each request that is done. */
  readonly done: string;
  /** The kernel's console. */
  readonly console: string;
  /** The monitor. */
  readonly monitor: string;
}

/** How a machine is started. */
export interface QemuStart {
  /** The file of its own memory. */
  readonly memory: string;
  /** Whether what it does to that memory goes to the file: while the image is made. */
  readonly keepsMemory: boolean;
  /** The file of the window. */
  readonly window: string;
  readonly connections: QemuConnections;
}

/** A value within a QEMU option, where a comma separates options unless doubled. */
function optionValue(value: string): string {
  return value.replaceAll(",", ",,");
}

/**
 * QEMU's options for the emulated machine, the same when its image is made and when it is started from it, as QEMU
 * wants it.
 *
 * The window is the machine's second NUMA node, because of memory that is a file QEMU leaves all as it is when it saves
 * and loads a machine; its kernel is told of the first node alone. With one processor of two possible ones, because
 * with one possible processor QEMU leaves out the barriers by which the agent and this process see each other's writes
 * in order, and with two processors the life of a VM takes twice as long.
 */
export function qemuArguments({ memory, keepsMemory, window, connections }: QemuStart): string[] {
  const file = (id: string, size: number, path: string, share: boolean) =>
    `memory-backend-file,id=${id},size=${size},mem-path=${optionValue(path)},share=${
      share ? "on" : "off"
    }`;
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-machine", "q35", "-accel", "tcg,thread=multi", "-smp", "1,maxcpus=2"],
    // Without fast string instructions, because QEMU emulates them byte by byte where the kernel expects a gain.
    ...["-cpu", "max,-erms,-fsrm"],
    ...["-m", `${(MEMORY_SIZE + WINDOW_MEMORY) / MEBIBYTE}M`],
    ...["-object", file("ram", MEMORY_SIZE, memory, keepsMemory)],
    ...["-object", file("window", WINDOW_MEMORY, window, true)],
    ...["-numa", "node,nodeid=0,cpus=0-1,memdev=ram", "-numa", "node,nodeid=1,memdev=window"],
    ...["-chardev", `${connections.console},id=console`, "-serial", "chardev:console"],
    ...["-device", "virtio-serial-pci"],
    ...(["bell", "signal"] as const).flatMap((name) => [
      ...["-chardev", `${connections[name]},id=${name}`],
      ...["-device", `virtserialport,chardev=${name},name=${name},nr=${PORTS[name].number}`],
    ]),
    ...["-chardev", `${connections.done},id=done`],
    ...["-device", `isa-debugcon,iobase=${DONE_PORT},chardev=done`],
    ...["-chardev", `${connections.monitor},id=monitor`, "-mon", "chardev=monitor,mode=control"],
  ];
}

/**
 * What the kernels of emulated machines are told. No mitigations and no self-tests, because all is emulated and slow;
 * expedited RCU, because creating and closing a VM waits for it; a panic resets the machine at once, which ends its
 * program. `quiet`, because each character of a message costs.
 */
export const EMULATED_KERNEL_OPTIONS: string = [
  "quiet",
  "console=ttyS0",
  "panic=-1",
  "mitigations=off",
  "nokaslr",
  "cryptomgr.notests",
  "tsc=reliable",
  "rcupdate.rcu_expedited=1",
  "random.trust_cpu=on",
].join(" ");

/**
 * Types of memory in the firmware's map (`enum e820_type` in arch/x86/include/asm/e820/types.h): RAM, and for special
 * purposes.
 */
const E820 = { ram: 1, softReserved: 0xefff_ffff } as const;

const hex = (address: number) => `0x${address.toString(16)}`;

/**
 * What this machine's kernel is told beside that: the window is memory for a special purpose. So the kernel keeps off
 * it, and has a device that maps it (`dax_hmem`), by pages of 2 MiB, which KVM then maps alike. It keeps off what lies
 * behind, too: a machine that is started from its image has another file there.
 */
export const KERNEL_OPTIONS: string = [
  EMULATED_KERNEL_OPTIONS,
  `memmap=${hex(WINDOW_SIZE)}%${hex(WINDOW_PHYSICAL)}-${E820.ram}+${hex(E820.softReserved)}`,
  `memmap=${hex(WINDOW_MEMORY - WINDOW_SIZE)}$${hex(WINDOW_PHYSICAL + WINDOW_SIZE)}`,
].join(" ");
