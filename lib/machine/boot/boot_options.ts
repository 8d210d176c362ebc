import type { Address } from "../../guest/address.ts";
import type { CapabilityName } from "../../kvm/abi/capabilities.ts";
import type { Libc } from "../../ffi/libc.ts";
import type { Convention } from "../../x86/boot/boot_state.ts";
import type { CompatibilityLayout, LongLayout } from "../../x86/boot/modes/long.ts";
import type {
  PaeLayout,
  PagedLayout,
  Protected16Layout,
  ProtectedLayout,
} from "../../x86/boot/modes/protected.ts";
import type { RealLayout, UnrealLayout } from "../../x86/boot/modes/real.ts";
import type { Virtual8086Layout } from "../../x86/boot/modes/virtual8086.ts";
import type { BootDevice } from "../../x86/boot/protocols/multiboot.ts";
import type { MsrValues } from "../../x86/msrs/msr_number.ts";
import type { Device } from "../../devices/device.ts";
import type { Clock } from "../../devices/timers.ts";
import type { MmioHandler, PortHandler } from "../../devices/handlers.ts";
import type { AddressRange } from "../../devices/bus.ts";
import type { InterleavingOptions } from "../run/interleaving.ts";
import type { CpuidOptions } from "../cpuid/cpuid_options.ts";
import type { MemoryContent } from "../memory/address_space.ts";
import type { MemoryOption, SlotOptions } from "../memory/memory_slots.ts";
import type { RegisterValues } from "../registers/registers.ts";
import type { AsmSource } from "../../guest/asm_source.ts";
import type { Image } from "../../guest/image.ts";

/** Capabilities of a VM by name, each with the argument or the arguments that switch it on. */
export type VmCapabilities = {
  readonly [Name in CapabilityName]?: number | bigint | readonly (number | bigint)[];
};

/** The boot option `smm`. */
export interface SmmOptions {
  /**
   * What handles system-management interrupts. Assembly, or an image, is loaded at SMBASE + 0x8000; its labels
   * are offsets in CS, from 0x8000 on. A label of the guest, or an address below 1 MiB, is jumped to from there,
   * and keeps the low 16 bits of its address as IP. It is 16-bit code, as in real mode, with data segments of
   * 4 GiB; `RSM` ends it.
   */
  readonly handler: Guest | string | number;
  /** SMBASE. Default 0x30000, as after reset. */
  readonly base?: number;
}

/** A file for a kernel. */
export interface ModuleOptions {
  /** What is in it. */
  readonly content: MemoryContent;
  /** Its command line, which many kernels take for its name. Default empty. */
  readonly commandLine?: string;
}

/**
 * The boot option `kernel`: what a kernel with a boot protocol is told. Memory size and map are told in any case. A kernel
 * whose protocol has no place for something refuses it.
 *
 * @example
 * ```ts no-eval
 * import { boot, Image } from "@vmexit/vmexit";
 *
 * using vm = boot(Image.open("kernel.elf"), {
 *   memory: "64M",
 *   kernel: { commandLine: "test=all", modules: [{ content: Deno.readFileSync("disk.tar"), commandLine: "disk" }] },
 * });
 * ```
 */
export interface KernelOptions {
  /** The command line. Default empty. */
  readonly commandLine?: string;
  /** Files beside it: of multiboot (1 and 2) and PVH. Default none. */
  readonly modules?: readonly ModuleOptions[];
  /** The initial RAM disk: of Linux; of PVH it is the first module. Default none. */
  readonly initrd?: MemoryContent;
  /**
   * Where the ACPI RSDP lies: of Linux and PVH. Of multiboot 2 the structure itself, 20 or 36 bytes, of which the kernel gets
   * a copy: `acpiTables().subarray(0, 36)`. Default the kernel looks for it where a BIOS has it.
   */
  readonly rsdp?: number | Uint8Array;
  /** What the kernel was loaded from: of multiboot (1 and 2). Default it is not told. */
  readonly bootDevice?: BootDevice;
}

/** A CPU that starts at once: an element of the option `cpus`. */
export interface CpuOptions {
  /** Where it starts: a linear address, or a label of the guest. Default where CPU 0 does. */
  readonly entry?: Address;
  /** Its RSP. Default 1 KiB below that of the CPU before it. */
  readonly stack?: number;
  /** Registers at the start, over what the mode, and the option `registers`, set. */
  readonly registers?: RegisterValues;
}

/**
 * Handlers by address, or a list of pairs, whose ranges may have more than one address.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   in al, 0x60
 *   out 0x72, al
 *   hlt
 * `, { ports: [[0x60, { read: () => 0x1c }], [[0x70, 0x77], { write: console.log }]] });
 * vm.run(); // 114 28 1
 * ```
 */
export type HandlersByAddress<Handler> =
  | Readonly<Record<number, Handler>>
  | Iterable<readonly [range: AddressRange, handler: Handler]>;

/** What every mode's machine can be told. All of it has defaults. */
export interface CommonOptions {
  /**
   * The main memory, from physical address 0 on: a multiple of 4096, or 0 for none. `{ size: "64M", holes: "PC" }` has
   * the holes of a PC: 0xa0000–0xfffff, and from 3 GiB to 4 GiB, above which the rest of it lies; `"PC"` is that with
   * 16 MiB. Default 1 MiB in 16-bit modes, 2 MiB in others; 16 MiB for kernels with a boot protocol and for ROMs, 128 MiB
   * for Linux.
   */
  readonly memory?: MemoryOption;
  /**
   * Whether the host is asked to give the main memory large pages of 2 MiB. Default false: then it does as it likes,
   * and gives them where transparent huge pages are set to `always`.
   */
  readonly hugePages?: boolean;
  /** More memory: elsewhere, read-only, or showing other memory. */
  readonly slots?: readonly SlotOptions[];
  /**
   * How the pages that the guest writes are noted, for `vm.memory.dirty()`. `"log"`: in the kernel's bitmaps.
   * `"ring"`: in a ring, by default of 1024 pages; `{ ring: N }`: of N pages, a power of 2 from 256 to 65536, and on
   * most Intel processors from 1024. Default not at all.
   */
  readonly dirtyPages?: "log" | "ring" | { readonly ring: number };
  /**
   * The linear address that the guest is assembled for, and where it lies, unless its source has an `org` of
   * its own.
   */
  readonly origin?: number | bigint;
  /** The physical address of its first byte, where that is not what the page tables make of its origin. */
  readonly load?: number;
  /**
   * Other images, by name, that the guest brings into memory by itself: the kernel of a boot loader, the loader's own copy
   * elsewhere (`image.movedBy(…)`). They are not loaded; pages know their lines, functions and names, which are written
   * `kernel:main` there, and may be so in tests. Default none.
   */
  readonly images?: Readonly<Record<string, Image>>;
  /**
   * Where execution starts: a linear address, or a label of the guest. By default `_start`, where there is
   * one, else the origin.
   */
  readonly entry?: Address;
  /** Registers at the start, over what the mode sets. */
  readonly registers?: RegisterValues;
  /**
   * How many CPUs there are, or what each is told. Default 1.
   *
   * A number: all but the first wait until the guest starts them by INIT and SIPI, as on hardware; so there are local
   * APICs (`irqchip: true`, unless it is `"split"`). A list: each CPU starts at once, in the state in which CPU 0 does.
   *
   * They take turns on one thread, by slices of up to 2 ms, unless the option `interleaving` says otherwise. One that
   * spins (it stays in a small loop, and none of its general registers changes) gives the rest of its slice away.
   */
  readonly cpus?: number | readonly CpuOptions[];
  /**
   * CPUs take turns of a few instructions, which the seed decides: the same seed, the same run. Each instruction is
   * single-stepped, which is slow; an interrupt's handler is executed as one with the instruction that it interrupts.
   * What comes by time (timers, `rdtsc`) is not the same in each run.
   */
  readonly interleaving?: InterleavingOptions;
  /**
   * Whether it is noted which lines of the guest are executed: `vm.coverage`. Default false, or what
   * `VMEXIT_GUEST_COVERAGE` says.
   */
  readonly coverage?: boolean;
  /**
   * Whether the machine may have the VM of one that was disposed, reset to what a new one is, and leave it to another. Default
   * false, unless `VMEXIT_REUSE` is 1. The statistics that KVM keeps of the VM tell the two apart, as they go on, and so does
   * what the process has open: a VM that waits is.
   */
  readonly reuse?: boolean;
  /** How long a run may take, in milliseconds. Default 1000; `VMEXIT_TIMEOUT_SCALE` multiplies it. */
  readonly timeout?: number;
  /** Whether there is a serial line at COM1. Default true. */
  readonly serial?: boolean;
  /**
   * Who answers the guest's I/O ports, from the start: handlers by port, or a list of pairs where one has a range of
   * them. As {@linkcode Machine.ports}`.on` takes them.
   */
  readonly ports?: HandlersByAddress<PortHandler>;
  /** Who answers physical addresses without memory, likewise: as {@linkcode Machine.mmio}`.on` takes them. */
  readonly mmio?: HandlersByAddress<MmioHandler>;
  /**
   * What is on the board beside memory and the serial line, from the start: devices of `@vmexit/vmexit/devices`, or of
   * the test's. A device is of one machine.
   */
  readonly devices?: readonly Device[];
  /** What devices count by. Default the host's clock; a `TestClock` makes runs that repeat to the digit. */
  readonly clock?: Clock;
  /**
   * What becomes of accesses to ports and addresses that nobody takes: `"error"`, the default, ends the run;
   * `"open-bus"` gives all ones to reads and drops writes, as a PC does. They stand in the log either way.
   * `vm.ports.otherwise` and `vm.mmio.otherwise` go before it.
   */
  readonly unclaimed?: "error" | "open-bus";
  /**
   * What becomes of a guest that resets the machine by one of its devices, or by a triple fault that does (the option
   * `tripleFault`): `"error"`, the default, ends the run, unless the test asked for it (`reset()` in a transcript,
   * `{ until: "reset" }`); `"restart"` lets the guest begin again. Either way it goes on at the reset vector, with its
   * devices reset and memory as it is.
   */
  readonly reset?: "error" | "restart";
  /**
   * What a triple fault does: `"shutdown"`, the default, ends the run; `"reset"` resets the machine, as the chipset of a
   * PC does.
   */
  readonly tripleFault?: "shutdown" | "reset";
  /** What a kernel is told by its boot protocol, where its image has one: {@linkcode Image.open}. */
  readonly kernel?: KernelOptions;
  /** A port by which the guest ends the run with a status, such as 0xf4. Default none. */
  readonly exitPort?: number;
  /**
   * Capabilities of the VM to switch on before its CPU is there (`KVM_ENABLE_CAP`), each with its argument or
   * arguments: `{ KVM_CAP_EXIT_HYPERCALL: 1 << KVM_HC.MAP_GPA_RANGE }`.
   */
  readonly capabilities?: VmCapabilities;
  /** A handler of system-management interrupts, which `vm.inject.smi()` sends. Default none. */
  readonly smm?: SmmOptions;
  /**
   * Which interrupt controllers the kernel emulates. `true`: the PICs, the IOAPIC and the local APIC. `"split"`: the
   * local APIC alone, with 24 GSIs for an IOAPIC that the test plays. Default false: none.
   *
   * With a local APIC, HLT waits in the kernel for an interrupt. The run ends with HLT where interrupts are disabled,
   * and none can wake the guest; where they are enabled, it goes on waiting, unless it is told to end there
   * ({@linkcode RunOptions.until}).
   */
  readonly irqchip?: boolean | "split";
  /** Whether the kernel emulates the interval timer (8254), on GSI 0. It takes `irqchip: true`. Default false. */
  readonly pit?: boolean;
  /**
   * MSRs at the start, by name or number, over what the mode sets: `{ LSTAR: 0x1000, 0x12: 0 }`. See
   * {@linkcode Msrs.set}.
   */
  readonly msrs?: MsrValues;
  /**
   * Handlers by vector: linear addresses, or labels of the guest. With an IDT each gets an interrupt gate that CPL 3
   * may use; all other gates are absent. Handlers run at CPL 0; in long mode they are 64-bit code, in virtual-8086 mode
   * 32-bit code. In real mode each gets its far pointer in the interrupt vector table at 0, in the code segment in
   * which the guest starts where that reaches it; the other vectors are not written.
   */
  readonly gates?: Readonly<Record<number, Address>>;
  /** What CPUID answers, where that is not simply all that KVM supports. */
  readonly cpuid?: CpuidOptions;
  /**
   * Whether a run that ends well is an error where it would not on hardware, as far as that can be seen: a segment's limit that is
   * exceeded, an address in LSTAR that is not canonical, where the emulated processor below KVM lets it through
   * (docs/emulated-machines.md). `true` looks at each instruction of each run, which takes a multiple of its time; the default,
   * where KVM is on such a processor, at runs whose end shows a sign of it; `false` at none.
   */
  readonly strict?: boolean;
  /** How many exits the log keeps. Default 64, at most 2^20. */
  readonly recordExits?: number;
  /** Whether the log notes when each exit came: {@linkcode ExitRecord.time}. Default false. */
  readonly timeExits?: boolean;
  /** Another C library, for tests that inject faults. */
  readonly libc?: Libc;
}

/** A machine that starts in real mode. */
export interface RealOptions
  extends CommonOptions, Omit<RealLayout, "memorySize" | keyof CommonOptions> {
  /** Real mode: the default for a guest whose source says neither `bits 32` nor `bits 64`. */
  readonly mode?: "real";
}

/** A machine that starts in unreal mode. */
export interface UnrealOptions
  extends CommonOptions, Omit<UnrealLayout, "memorySize" | keyof CommonOptions> {
  /** Real mode with data segments of 4 GiB. */
  readonly mode: "unreal";
}

/** A machine that starts in 16-bit protected mode. */
export interface Protected16Options
  extends CommonOptions, Omit<Protected16Layout, "memorySize" | keyof CommonOptions> {
  /** Protected mode with 16-bit segments of 64 KiB. */
  readonly mode: "protected16";
}

/** A machine that starts in 32-bit protected mode. */
export interface ProtectedOptions
  extends CommonOptions, Omit<ProtectedLayout, "memorySize" | keyof CommonOptions> {
  /** Flat 32-bit protected mode without paging: the default for a guest whose source says `bits 32`. */
  readonly mode?: "protected";
}

/** A machine that starts in 32-bit protected mode with 32-bit paging. */
export interface PagedOptions
  extends CommonOptions, Omit<PagedLayout, "memorySize" | keyof CommonOptions> {
  /** 32-bit protected mode with 4 KiB and 4 MiB pages. */
  readonly mode: "paged";
}

/** A machine that starts in 32-bit protected mode with PAE paging. */
export interface PaeOptions
  extends CommonOptions, Omit<PaeLayout, "memorySize" | keyof CommonOptions> {
  /** 32-bit protected mode with PAE paging: 4 KiB and 2 MiB pages. */
  readonly mode: "pae";
}

/** A machine that starts in virtual-8086 mode. */
export interface Virtual8086Options
  extends CommonOptions, Omit<Virtual8086Layout, "memorySize" | keyof CommonOptions> {
  /** Virtual-8086 mode: 16-bit code with real mode's segments at CPL 3. */
  readonly mode: "virtual8086";
}

/** A machine that starts in compatibility mode. */
export interface CompatibilityOptions
  extends CommonOptions, Omit<CompatibilityLayout, "memorySize" | keyof CommonOptions> {
  /** Compatibility mode: 32-bit code in long mode. */
  readonly mode: "compatibility";
}

/** A machine that starts in long mode. */
export interface LongOptions
  extends CommonOptions, Omit<LongLayout, "memorySize" | keyof CommonOptions> {
  /** 64-bit mode: the default for a guest whose source says `bits 64`. */
  readonly mode?: "long";
  /**
   * The state in which the guest is entered. `"plain"`, the default: all general registers but RSP are zero.
   * `"linux"`: as rust-vmm's monitors enter a 64-bit kernel, with the GDT at 0x500, page tables at 0x9000,
   * code at 0x100000; of the layout it takes `stack` and `mappings`. `"unikernel"`: RDI has the boot
   * information, RSI the CPU's number.
   */
  readonly convention?: Convention;
  /** With the convention `"linux"`: what RSI points to. Default 0x7000. */
  readonly zeroPage?: number;
  /** With the convention `"unikernel"`: what RDI points to. Default 0x500. */
  readonly bootInformation?: number | bigint;
  /** With the convention `"unikernel"`: the CPU's number, in RSI. Default 0. */
  readonly cpuNumber?: number;
}

/** What a machine can be told at boot. */
export type BootOptions =
  | RealOptions
  | UnrealOptions
  | Protected16Options
  | ProtectedOptions
  | PagedOptions
  | PaeOptions
  | Virtual8086Options
  | CompatibilityOptions
  | LongOptions;

/** What can be booted: assembly, or an image made before. */
export type Guest = AsmSource | Image;
