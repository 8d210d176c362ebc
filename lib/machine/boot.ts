import { ExitPort } from "../devices/exit_port.ts";
import { Uart } from "../devices/uart.ts";

import { HostError } from "../ffi/host_error.ts";
import { libc as realLibc } from "../ffi/real_libc.ts";
import { AsmSource } from "../guest/asm_source.ts";
import { Image } from "../guest/image.ts";
import { kvm_cpuid2, type KvmCpuidEntry2 } from "../kvm/abi/structs/cpuid.ts";
import { Kvm } from "../kvm/kvm.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import {
  type BootLayout,
  bootState,
  type Convention,
  conventionDefaults,
  type ModeDefaults,
  modeDefaults,
} from "../x86/boot_state.ts";
import type { CpuState, Mode } from "../x86/cpu_state.ts";
import { cr4Flags } from "../x86/flag_tables.ts";
import { getFlag } from "../x86/flags.ts";
import { KVM_PRIVATE_PAGES, PORT } from "../x86/layout.ts";
import type { BootOptions, GateOptions } from "./boot_options.ts";
import { Machine } from "./machine.ts";
import { type AllocatedSlot, createSlots } from "./memory_slots.ts";

import { RegisterStore } from "./register_store.ts";
import { sizeInBytes } from "./size.ts";
import { DEFAULT_TIMEOUT_MILLISECONDS, scaledTimeout } from "./time_limit.ts";

/** What can be booted: assembly, or an image made before. */
export type Guest = AsmSource | Image;

/** The mode of a guest that was given none, by how wide its source says that it is. */
const MODE_OF_BITS = { 16: "real", 32: "protected", 64: "long" } as const;

/** The options of long mode that not every convention has, with those that do. */
const OPTIONS_OF_CONVENTIONS: Readonly<Record<string, readonly Convention[]>> = {
  zeroPage: ["linux"],
  bootInformation: ["unikernel"],
  cpuNumber: ["unikernel"],
  ...Object.fromEntries(
    ["cpl", "gates", "gdt", "identityMap", "idt", "levels", "pageTables", "ports", "tss"].map((
      name,
    ) => [name, ["plain", "unikernel"] as const]),
  ),
};

/** CPUID leaf 0 has the vendor: "Auth" of AuthenticAMD, "Hygo" of HygonGenuine. */
const VENDOR = 0;
const AMD_VENDORS: ReadonlySet<number | undefined> = new Set([0x68747541, 0x6f677948]);

/** CPUID leaf 7 says in bit 16 of ECX whether there is 5-level paging (Intel SDM Vol. 2A, CPUID). */
const EXTENDED_FEATURES = 7;
const LA57 = 1 << 16;

/** Bytes from one selector to the next in real mode. */
const PARAGRAPH = 16;

const DEFAULT_RECORD_EXITS = 64;
const MOST_RECORDED_EXITS = 2 ** 20;

/**
 * Makes a machine, loads a guest into it, and puts its CPU where the guest starts. Nothing runs yet.
 *
 * @param guest Assembly (`` asm`…` ``, `asm.file(…)`), or an {@linkcode Image} (a flat binary, an ELF file).
 * @throws {RangeError | TypeError} When an option cannot be; before KVM is asked.
 * @throws {AssemblyError} When NASM refuses the source.
 * @throws {HostError} When this host has no KVM, or not that much memory.
 * @throws {Deno.errors.NotCapable} When FFI (`--allow-ffi`) or running NASM (`--allow-run`) is not permitted.
 * @throws {KvmError} When KVM refuses something. Nothing is left open.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, portOut } from "@vmexit/vmexit";
 *
 * Deno.test("the guest greets", () => {
 *   using vm = boot(asm`
 *     mov al, 'A'
 *     out 0x10, al
 *     hlt
 *   `);
 *   expect(vm).toExit([portOut(0x10, "A"), hlt()]);
 * });
 * ```
 */
export function boot(guest: Guest, options: BootOptions = {}): Machine {
  const mode = modeOf(guest, options);
  const defaults = defaultsOf(mode, options);
  const timeout = options.timeout ?? DEFAULT_TIMEOUT_MILLISECONDS;
  scaledTimeout(timeout);
  const recordExits = checkRecordExits(options.recordExits ?? DEFAULT_RECORD_EXITS);
  const memorySize = sizeInBytes(options.memory ?? defaults.memorySize);
  const image = imageOf(guest, options, defaults);
  const loadAddress = loadAddressOf(guest, image, options);
  const entry = entryOf(image, options.entry);
  const started = realModeStart(options, image, entry, loadAddress);
  const gates = gatesOf(options, image);
  const state = bootState({ ...started, mode, memorySize, entry, gates } as BootLayout);
  const libc = options.libc ?? realLibc();
  const slots = createSlots(libc, memorySize, options.slots ?? []);

  using cleanup = new DisposableStack();
  const kvm = cleanup.use(Kvm.open(libc));
  const vm = cleanup.use(kvm.createVm());
  const cpuid = kvm.supportedCpuid();
  refuseMissingFeatures(cpuid, state);
  const vcpu = cleanup.use(createVcpu(vm, slots, options.irqchip ?? false, cpuid));
  const store = new RegisterStore(vcpu, isAmd(cpuid));
  const machine = cleanup.use(
    new Machine({ libc, kvm, vm, vcpu, store, image, mode, slots, timeout, recordExits }),
  );
  connectDevices(machine, options);
  store.load(state.registers, state.specialRegisters);
  load(machine, image, state, loadAddress);
  if (options.registers !== undefined) machine.registers.set(options.registers);
  machine.commitBootState();
  cleanup.move();
  return machine;
}

function modeOf(guest: Guest, { mode }: BootOptions): Mode {
  if (!(guest instanceof AsmSource || guest instanceof Image)) {
    throw new TypeError(
      `Cannot boot ${typeof guest}: it is no guest. Write asm\`…\`, asm.file(…), Image.fromBytes(…) or Image.fromElf(…).`,
    );
  }
  const bits = guest instanceof Image ? guest.bits : guest.declaredBits;
  const chosen = mode ?? MODE_OF_BITS[bits ?? 16];
  if (Object.hasOwn(modeDefaults, chosen)) return chosen;
  throw new RangeError(
    `Cannot boot in mode ${JSON.stringify(chosen)}: there is none of that name. The modes are ${
      Object.keys(modeDefaults).join(", ")
    }.`,
  );
}

function isConvention(name: unknown): name is Convention {
  return typeof name === "string" && Object.hasOwn(conventionDefaults, name);
}

/** Options that a convention does not know would be ignored otherwise. */
function refuseOptionsOfOthers(options: BootOptions, convention: Convention): void {
  for (const [option, conventions] of Object.entries(OPTIONS_OF_CONVENTIONS)) {
    if (options[option as keyof BootOptions] === undefined) continue;
    if (conventions.includes(convention)) continue;
    throw new TypeError(
      `Cannot use the option ${option} with the convention ${JSON.stringify(convention)}: only ${
        conventions.join(" and ")
      } have it. Leave it out, or give another convention.`,
    );
  }
}

function defaultsOf(mode: Mode, options: BootOptions): ModeDefaults {
  const { convention } = options as { convention?: unknown };
  if (mode !== "long") {
    if (convention === undefined) return modeDefaults[mode];
    throw new TypeError(
      `Cannot boot mode ${mode} by the convention ${
        JSON.stringify(convention)
      }: conventions are for 64-bit code. Give \`mode: "long"\`, or no convention.`,
    );
  }
  const chosen = convention ?? "plain";
  if (isConvention(chosen)) {
    refuseOptionsOfOthers(options, chosen);
    return conventionDefaults[chosen];
  }
  throw new RangeError(
    `Cannot boot by the convention ${
      JSON.stringify(convention)
    }: there is none of that name. The conventions are ${
      Object.keys(conventionDefaults).join(", ")
    }.`,
  );
}

function imageOf(
  guest: Guest,
  { origin, cs, ip }: BootOptions & { cs?: number; ip?: number },
  { bits, code }: ModeDefaults,
): Image {
  if (guest instanceof Image) return guest;
  // A guest started at CS:IP is assembled for offsets in that segment.
  const fallback = cs === undefined ? code : ip ?? 0;
  return guest.assemble({ origin: origin ?? fallback, bits });
}

/**
 * The physical address of a guest's first byte, where that is not what its linear address makes of it. Assembly that is
 * started at CS:IP has offsets in that segment for addresses, unless it was given an origin of its own.
 */
function loadAddressOf(
  guest: Guest,
  image: Image,
  { load, origin, cs }: BootOptions & { cs?: number },
): number | undefined {
  if (load !== undefined || cs === undefined) return load;
  return guest instanceof AsmSource && origin === undefined
    ? cs * PARAGRAPH + image.origin
    : undefined;
}

/** Where only CS is given, IP is the offset of the guest's entry in that segment. */
function realModeStart(
  options: BootOptions & { cs?: number; ip?: number },
  image: Image,
  entry: number,
  loadAddress: number | undefined,
): BootOptions {
  const { cs, ip } = options;
  if (cs === undefined || ip !== undefined) return options;
  const moved = loadAddress === undefined ? 0 : loadAddress - image.origin;
  return { ...options, ip: entry + moved - cs * PARAGRAPH } as BootOptions;
}

function entryOf(image: Image, entry: number | string | undefined): number {
  if (typeof entry === "string") return image.symbol(entry);
  return entry ?? image.entry;
}

/** The addresses of handlers that were given as labels. */
function gatesOf(options: BootOptions, image: Image): Record<number, number> {
  const { gates = {} } = options as GateOptions;
  return Object.fromEntries(
    Object.entries(gates).map(([vector, handler]) => [
      vector,
      typeof handler === "string" ? image.symbol(handler) : handler,
    ]),
  );
}

function checkRecordExits(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_RECORDED_EXITS) return count;
  throw new RangeError(
    `Cannot record ${count} exits: it is not a whole number from 1 to ${MOST_RECORDED_EXITS}`,
  );
}

function createVcpu(
  vm: Vm,
  slots: readonly AllocatedSlot[],
  irqchip: boolean,
  cpuid: Uint8Array<ArrayBuffer>,
): Vcpu {
  vm.setRealModePages(KVM_PRIVATE_PAGES.taskState, KVM_PRIVATE_PAGES.identityMap);
  for (const slot of slots) vm.setMemorySlot(slot);
  if (irqchip) vm.createIrqchip();
  using cleanup = new DisposableStack();
  const vcpu = cleanup.use(vm.createVcpu(0));
  vcpu.setCpuid(cpuid);
  cleanup.move();
  return vcpu;
}

function refuseMissingFeatures(
  cpuid: Uint8Array<ArrayBuffer>,
  { specialRegisters }: CpuState,
): void {
  if (!getFlag(cr4Flags, "la57", specialRegisters.cr4)) return;
  if (((cpuidLeaf(cpuid, EXTENDED_FEATURES)?.ecx ?? 0) & LA57) !== 0) return;
  throw new HostError(
    "Cannot boot with 5 levels of page tables: this host's CPU, or its KVM, has no LA57. " +
      "Give `levels: 4`, or run on a CPU that has it; the nested machine of `vmexit test` does.",
  );
}

/** Whether the vendor string, whose first four letters are in EBX, is that of AMD or of Hygon, who build AMD's CPUs. */
function isAmd(cpuid: Uint8Array<ArrayBuffer>): boolean {
  return AMD_VENDORS.has(cpuidLeaf(cpuid, VENDOR)?.ebx);
}

function cpuidLeaf(cpuid: Uint8Array<ArrayBuffer>, leaf: number): KvmCpuidEntry2 | undefined {
  const { entries } = kvm_cpuid2.read(new DataView(cpuid.buffer), 0);
  return entries.find((entry) => entry.function === leaf);
}

function connectDevices(machine: Machine, { serial = true, exitPort }: BootOptions): void {
  const com1 = serial ? new Uart(PORT.com1, "COM1") : undefined;
  if (com1 !== undefined) {
    machine.ports.on([PORT.com1, PORT.com1 + PORT.serialPorts - 1], com1);
  }
  const exit = exitPort === undefined ? undefined : new ExitPort(() => machine.stop());
  if (exit !== undefined) machine.ports.on(exitPort!, exit);
  machine.connect({ serial: com1, exitPort: exit });
}

/** Writes the mode's tables and the guest into memory. */
function load(machine: Machine, image: Image, state: CpuState, at: number | undefined): void {
  for (const { gpa, bytes } of state.writes) machine.memory.write(gpa, bytes);
  for (const { address, bytes, size } of image.segments) {
    try {
      const zeroed = new Uint8Array(size);
      zeroed.set(bytes);
      if (at === undefined) machine.linear.write(address, zeroed);
      else machine.memory.write(at + address - image.origin, zeroed);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RangeError(
        `Cannot load ${size} bytes of the guest at ${at === undefined ? "linear" : "physical"} 0x${
          ((at ?? image.origin) + address - image.origin).toString(16)
        }: they do not fit the machine's memory. Give it more with the \`memory\` option, or load the guest elsewhere. ${error.message}`,
        { cause: error },
      );
    }
  }
}
