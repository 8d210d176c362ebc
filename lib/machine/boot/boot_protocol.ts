import type { Image } from "../../guest/image.ts";
import { loadAddressOf } from "../../guest/image_parts.ts";
import type { BootProtocol } from "../../guest/boot_protocol.ts";
import type { CpuState, Mode } from "../../x86/boot/cpu_state.ts";
import { resetEntry } from "../../x86/boot/modes/reset.ts";
import { linuxKernelEntry } from "../../x86/boot/protocols/linux_kernel.ts";
import { linuxRealModeEntry } from "../../x86/boot/protocols/linux_real_mode.ts";
import type { KernelLayout, MachineMemory } from "../../x86/boot/protocols/memory_map.ts";
import { type BootDevice, multibootEntry } from "../../x86/boot/protocols/multiboot.ts";
import { multiboot2Entry } from "../../x86/boot/protocols/multiboot2.ts";
import { pvhEntry } from "../../x86/boot/protocols/pvh.ts";
import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { KVM_PRIVATE_PAGES, PC_MEMORY } from "../../x86/layout.ts";
import { contentBytes } from "../memory/address_space.ts";
import type { SlotOptions, SlotPlan } from "../memory/memory_slots.ts";
import type { BootOptions, KernelOptions, ModuleOptions } from "./boot_options.ts";

/** A protocol that leaves the state in which a guest starts to nobody else. */
export type OwnProtocol = Exclude<BootProtocol, { readonly kind: "boot-sector" }>;

/** The protocol by which an image starts in a state that is all its own. */
export function ownProtocol({ protocol }: Image): OwnProtocol | undefined {
  return protocol?.kind === "boot-sector" ? undefined : protocol;
}

/** The modes in which a protocol enters its kernel, the usual one first. */
function modesOf(protocol: BootProtocol): readonly Mode[] {
  switch (protocol.kind) {
    case "linux":
      return [
        ...protocol.has64BitEntry ? ["long" as const] : [],
        ...protocol.has32BitEntry ? ["protected" as const] : [],
        "real",
      ];
    case "rom":
      return ["real"];
    case "boot-sector":
      return ["real", "unreal"];
    default:
      return ["protected"];
  }
}

/**
 * The mode in which an image with a boot protocol starts.
 *
 * @throws {TypeError} When another was asked for.
 */
export function protocolMode(image: Image, protocol: BootProtocol, asked: Mode | undefined): Mode {
  const modes = modesOf(protocol);
  if (asked === undefined) return modes[0];
  if (modes.includes(asked)) return asked;
  throw new TypeError(
    `Cannot boot a ${image.kind} image in mode ${JSON.stringify(asked)}: it starts in mode ${
      modes.join(" or ")
    }, as its boot protocol has it. Leave the mode out` +
      (protocol.kind === "rom" || protocol.kind === "boot-sector"
        ? "."
        : ', or open the file as something else: Image.open(path, { kind: "elf" }).'),
  );
}

/** What beside the options of every machine each kind of kernel takes in `kernel`. */
const KERNEL_OPTIONS: Partial<Record<BootProtocol["kind"], readonly (keyof KernelOptions)[]>> = {
  multiboot: ["commandLine", "modules", "bootDevice"],
  multiboot2: ["commandLine", "modules", "bootDevice", "rsdp"],
  pvh: ["commandLine", "modules", "initrd", "rsdp"],
  linux: ["commandLine", "initrd", "rsdp"],
};

const KERNEL_NAMES: NamesOf<KernelOptions> = {
  commandLine: "value",
  modules: "value",
  initrd: "value",
  rsdp: "value",
  bootDevice: "value",
};

const BOOT_DEVICE_NAMES: NamesOf<BootDevice> = { drive: "value", partition: "value" };

const MODULE_NAMES: NamesOf<ModuleOptions> = { content: "value", commandLine: "value" };

/**
 * Checks the option `kernel`.
 *
 * @throws {TypeError} When it is none, or has what the image's protocol has no place for.
 */
export function checkKernelOptions(image: Image, { kernel }: BootOptions): void {
  if (kernel === undefined) return;
  checkOptions("boot", kernel, KERNEL_NAMES, "kernel");
  const taken = image.protocol && KERNEL_OPTIONS[image.protocol.kind];
  if (taken === undefined) {
    throw new TypeError(
      `Cannot boot with the option kernel: the image is of kind ${
        JSON.stringify(image.kind)
      }, which is told nothing. ` +
        "Image.open(…) makes images of kernels that have a boot protocol.",
    );
  }
  for (const [name, value] of Object.entries(kernel)) {
    if (value === undefined || taken.includes(name as keyof KernelOptions)) continue;
    throw new TypeError(
      `Cannot boot with the option kernel.${name}: a ${image.kind} kernel takes ${
        taken.join(", ")
      }`,
    );
  }
  const { commandLine = "", modules = [], bootDevice, rsdp } = kernel;
  const isCopied = image.kind === "multiboot2";
  if (rsdp !== undefined && (isCopied ? !(rsdp instanceof Uint8Array) : typeof rsdp !== "number")) {
    throw new TypeError(
      `Cannot boot with the option kernel.rsdp: a ${image.kind} kernel takes ${
        isCopied ? "the structure, acpiTables().subarray(0, 36)" : "its address"
      }`,
    );
  }
  if (bootDevice !== undefined) checkBootDevice(bootDevice);
  checkText(commandLine, "kernel.commandLine");
  if (!Array.isArray(modules)) {
    throw new TypeError(
      "Cannot boot with the option kernel.modules: give a list, [{ content: … }]",
    );
  }
  for (const [index, module] of modules.entries()) {
    const within = `kernel.modules[${index}]`;
    checkOptions("boot", module, MODULE_NAMES, within);
    const { commandLine = "" } = module as ModuleOptions;
    checkText(commandLine, `${within}.commandLine`);
  }
}

function checkBootDevice(given: BootDevice): void {
  checkOptions("boot", given, BOOT_DEVICE_NAMES, "kernel.bootDevice");
  const { drive, partition = 0 } = given;
  for (const [name, value] of Object.entries({ drive, partition })) {
    if (Number.isInteger(value) && value >= 0 && value <= 0xff) continue;
    throw new RangeError(
      `Cannot boot with the option kernel.bootDevice.${name} ${
        String(value)
      }: it is a number from 0 to 0xff`,
    );
  }
}

function checkText(text: unknown, option: string): void {
  if (typeof text === "string" && !text.includes("\0")) return;
  throw new TypeError(
    `Cannot boot with the option ${option} ${
      JSON.stringify(text)
    }: give text, without the character NUL, which ends it`,
  );
}

/** ROM at 4 GiB, and as much of its end as shows below 1 MiB. */
export function romSlots(image: Image): SlotOptions[] {
  const { protocol } = image;
  // Of other images the bytes may lie too far apart for one piece.
  if (protocol?.kind !== "rom") return [];
  const { size, bytes } = image;
  const { high, end32, shadowedRom, shadowRam } = PC_MEMORY;
  const shadowed = Math.min(size, shadowedRom);
  const shadow: SlotOptions = protocol.shadow === "ram"
    ? { gpa: high - shadowRam, size: shadowRam, content: shadowContent(bytes.subarray(-shadowed)) }
    : { gpa: high - shadowed, size: shadowed, readonly: true, alias: end32 - shadowed };
  return [{ gpa: end32 - size, size, readonly: true }, shadow];
}

function shadowContent(shadowed: Uint8Array): Uint8Array {
  const content = new Uint8Array(PC_MEMORY.shadowRam);
  content.set(shadowed, content.length - shadowed.length);
  return content;
}

/**
 * The state in which an image starts by its boot protocol, with all that it is told in memory.
 *
 * @throws {RangeError} When there is no room for it.
 */
export function protocolState(
  image: Image,
  protocol: OwnProtocol,
  mode: Mode,
  slots: readonly SlotPlan[],
  kernel: KernelOptions = {},
): CpuState {
  if (protocol.kind === "rom") return resetEntry();
  const layout = kernelLayout(image, slots, kernel);
  switch (protocol.kind) {
    case "multiboot":
      return multibootEntry({ ...layout, ...protocol, bootDevice: kernel.bootDevice });
    case "multiboot2": {
      const { bootDevice, rsdp } = kernel;
      return multiboot2Entry({
        ...layout,
        ...protocol,
        bootDevice,
        rsdp: rsdp instanceof Uint8Array ? rsdp : undefined,
      });
    }
    case "pvh":
      return pvhEntry(layout);
    case "linux":
      return linuxState(image, protocol, mode, layout, kernel);
  }
}

function linuxState(
  image: Image,
  { header, setup, initSize }: BootProtocol & { kind: "linux" },
  mode: Mode,
  layout: KernelLayout,
  { initrd, rsdp }: KernelOptions,
): CpuState {
  const gpa = Number(image.origin);
  const linux = {
    ...layout,
    header,
    kernel: [{ what: "kernel", gpa, size: initSize }],
    initrd: initrd === undefined ? undefined : new Uint8Array(contentBytes(initrd)),
  };
  if (mode === "real") {
    if (rsdp === undefined) return linuxRealModeEntry({ ...linux, setup, loadAddress: gpa });
    throw new TypeError(
      "Cannot boot with the option kernel.rsdp: a Linux kernel that starts in mode real looks for it where a BIOS has it",
    );
  }
  return linuxKernelEntry({
    ...linux,
    bits: mode === "long" ? 64 : 32,
    entry: mode === "long" ? Number(image.entry) : gpa,
  });
}

function kernelLayout(
  image: Image,
  slots: readonly SlotPlan[],
  { commandLine, modules = [], initrd, rsdp }: KernelOptions,
): KernelLayout {
  const files = [...initrd === undefined ? [] : [{ content: initrd }], ...modules];
  return {
    ...machineMemory(slots),
    entry: Number(image.entry),
    kernel: image.segments.map((segment) => ({
      what: "kernel",
      gpa: Number(loadAddressOf(segment)),
      size: segment.size,
    })),
    commandLine,
    modules: files.map(({ content, commandLine = "" }: ModuleOptions) => ({
      bytes: new Uint8Array(contentBytes(content)),
      commandLine,
    })),
    rsdp: typeof rsdp === "number" ? rsdp : undefined,
  };
}

function machineMemory(slots: readonly SlotPlan[]): MachineMemory {
  const { start, end } = KVM_PRIVATE_PAGES;
  return {
    ram: slots.filter(({ readonly, alias }) => !readonly && alias === undefined),
    reserved: [
      ...slots.filter(({ readonly }) => readonly),
      { gpa: start, size: end - start },
    ],
  };
}
