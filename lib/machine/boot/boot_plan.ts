import { reportsWanted } from "../viewer/reports_wanted.ts";
import { APIC_BASE_BIT } from "../../x86/registers/apic_base.ts";
import { checkNames, definedEntries } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { bootState } from "../../x86/boot/boot_state.ts";
import type { CpuState } from "../../x86/boot/cpu_state.ts";
import type { MmioHandler, PortHandler } from "../../devices/handlers.ts";
import type { AddressRange } from "../../devices/bus.ts";
import type { MachineSettings } from "../board_init.ts";
import { planCoverage } from "../coverage/code_coverage.ts";
import { type CpuidPlan, planCpuid } from "../cpuid/cpuid_options.ts";
import { planControllers } from "../interrupts/irqchip.ts";
import { planDirtyPages } from "../memory/dirty_pages.ts";
import { mainMemory, planSlots, type SlotPlan } from "../memory/memory_slots.ts";
import { msrEntries, type MsrEntry } from "../msrs/msrs.ts";
import { checkTimeout, DEFAULT_TIMEOUT_MILLISECONDS } from "../run/time_limit.ts";
import { defaultsOf, modeOf } from "./boot_mode.ts";
import type {
  BootOptions,
  CommonOptions,
  Guest,
  HandlersByAddress,
  VmCapabilities,
} from "./boot_options.ts";
import { planCpuCount, planInterleaving, planStarts, type StartRegisters } from "./cpu_plan.ts";
import {
  checkKernelOptions,
  type OwnProtocol,
  ownProtocol,
  protocolState,
  romSlots,
} from "./boot_protocol.ts";
import { checkOptionNames } from "./option_names.ts";
import { placeGuest } from "./guest_placement.ts";
import { Image } from "../../guest/image.ts";
import { LAST_PORT, PC_MEMORY } from "../../x86/layout.ts";
import { type SmmHandler, smmHandler } from "./smm_handler.ts";
import { nearestNames } from "../../x86/nearest_names.ts";
import { CAPABILITIES, type CapabilityName } from "../../kvm/abi/capabilities.ts";

/** Memory for a Linux kernel: it takes a few dozen MiB to unpack itself. */
const LINUX_KERNEL_MEMORY = 128 * 2 ** 20;

const DEFAULT_RECORD_EXITS = 64;
const MOST_RECORDED_EXITS = 2 ** 20;

/** All that `boot` is going to do: its options, each read once, with nothing left out. */
export interface BootPlan extends MachineSettings {
  /** Whether what emulators forgive is an error; undefined where it is where they do. */
  readonly strict: boolean | undefined;
  /** The memory: the main slot, and the others. */
  readonly slots: readonly SlotPlan[];
  /** How the pages that the guest writes are noted: in the kernel's log, or in rings of so many entries. */
  readonly dirtyPages: "log" | number | undefined;
  /** Capabilities of the VM that are switched on. */
  readonly capabilities: readonly EnabledCapability[];
  /** Whether its VM may have been another machine's, and be another's afterwards; undefined where the test does not say. */
  readonly reuse: boolean | undefined;
  /** What CPUID answers, where that is not simply all that KVM supports. */
  readonly cpuid: CpuidPlan;
  /** The state of the mode in which the guest starts, with what it needs in memory. */
  readonly state: CpuState;
  /** The physical address of the guest's first byte, where that is not what the page tables make of its origin. */
  readonly loadAddress: number | undefined;
  /** How each CPU starts; undefined for those that wait for a SIPI. */
  readonly starts: readonly (StartRegisters | undefined)[];
  /** The MSRs of each CPU that starts, in the order in which they are set: those of the state, and over them others. */
  readonly msrs: readonly MsrEntry[];
  /** The handler of system-management interrupts, if there is one. */
  readonly smm: SmmHandler | undefined;
  /** Who answers accesses to I/O ports. */
  readonly ports: readonly (readonly [AddressRange, PortHandler])[];
  /** Who answers accesses to addresses without memory. */
  readonly mmio: readonly (readonly [AddressRange, MmioHandler])[];
}

/**
 * Reads the options of `boot`, and assembles the guest. The host's KVM is asked nothing.
 *
 * @throws {RangeError | TypeError} When an option cannot be.
 * @throws {AssemblyError} When NASM refuses the source.
 */
export function planBoot(guest: Guest, options: BootOptions): BootPlan {
  const mode = modeOf(guest, options);
  const cpus = planCpuCount(options, mode);
  const defaults = defaultsOf(mode, options);
  const own = guest instanceof Image ? ownProtocol(guest) : undefined;
  checkOptionNames(mode, options, own);
  const main = mainMemory(options.memory ?? defaultMemory(own) ?? defaults.memorySize, {
    hasHoles: own?.kind === "rom",
  });
  const memorySize = Math.min(main.size, main.hasHoles ? PC_MEMORY.devices : Infinity);
  const placed = placeGuest(guest, options, mode, defaults, memorySize);
  const { image } = placed;
  checkKernelOptions(image, options);
  const slots = planSlots(
    { ...main, hugePages: options.hugePages ?? false },
    [...romSlots(image), ...options.slots ?? []],
  );
  const { irqchip = cpus.waitForSipi } = options;
  const cpuid = planCpuid(options.cpuid ?? {}, irqchip !== false);
  const state = withLocalApic(
    own === undefined
      ? withDrive(bootState(placed.layout), image)
      : protocolState(image, own, mode, slots, options.kernel),
    cpuid.enablesLocalApic,
  );
  // Who places itself lies at physical addresses, whatever is mapped.
  const { entry, loadAddress } = own === undefined
    ? placed
    : { entry: firstInstruction(state), loadAddress: Number(image.origin) };
  const smm = options.smm && smmHandler(options.smm, image, memorySize);
  const symbol = (name: string) => image.symbol(name);
  return {
    image,
    mode,
    interleaving: planInterleaving(options, cpus.count),
    timeout: checkTimeout(options.timeout ?? DEFAULT_TIMEOUT_MILLISECONDS),
    recordExits: checkRecordExits(options.recordExits ?? DEFAULT_RECORD_EXITS),
    timeExits: options.timeExits ?? false,
    strict: options.strict,
    isTraced: reportsWanted().folder !== undefined,
    ...planControllers({ irqchip, pit: options.pit }),
    serial: options.serial ?? true,
    exitPort: checkExitPort(options.exitPort),
    faultCatcher: state.faultCatcher,
    hasSmm: smm !== undefined,
    coverage: planCoverage(options.coverage, image),
    slots,
    dirtyPages: planDirtyPages(options.dirtyPages),
    capabilities: planCapabilities(options.capabilities ?? {}),
    reuse: options.reuse,
    cpuid,
    state,
    loadAddress,
    starts: planStarts(options, cpus, { image, entry, state }),
    msrs: [...msrEntries(state.msrs ?? {}, symbol), ...msrEntries(options.msrs ?? {}, symbol)],
    smm,
    ...planDevices(options),
    ports: handlersOf("ports", options.ports),
    mmio: handlersOf("mmio", options.mmio),
  };
}

/** As much memory as a guest that brings its boot protocol is given; undefined for those that do not. */
function defaultMemory(protocol: OwnProtocol | undefined): number | undefined {
  if (protocol === undefined) return undefined;
  return protocol.kind === "linux" ? LINUX_KERNEL_MEMORY : PC_MEMORY.memorySize;
}

function firstInstruction({ registers, specialRegisters }: CpuState): bigint {
  return specialRegisters.cs.base + (registers.rip ?? 0n);
}

/** A BIOS tells a boot sector, in DL, which drive it comes from. */
function withDrive(state: CpuState, { protocol }: Image): CpuState {
  if (protocol?.kind !== "boot-sector") return state;
  return { ...state, registers: { ...state.registers, rdx: BigInt(protocol.drive) } };
}

/** Without a local APIC the bit that enables it is clear, and CPUID says that there is none (Intel SDM Vol. 3A, 11.4.3). */
function withLocalApic(state: CpuState, isEnabled: boolean): CpuState {
  if (isEnabled) return state;
  const apic_base = state.specialRegisters.apic_base & ~APIC_BASE_BIT.ENABLED;
  return { ...state, specialRegisters: { ...state.specialRegisters, apic_base } };
}

/** Reads the options about devices. @throws {TypeError | RangeError} When one cannot be. */
function planDevices(
  { devices = [], clock, unclaimed = "error", reset = "error", tripleFault = "shutdown" }:
    CommonOptions,
): Pick<
  BootPlan,
  "devices" | "clock" | "hasOpenBus" | "restarts" | "resetsAtShutdown"
> {
  if (!Array.isArray(devices)) {
    throw new TypeError(`Cannot boot with devices ${String(devices)}: give a list of them`);
  }
  for (const [index, device] of devices.entries()) {
    if (typeof device?.attach === "function") continue;
    throw new TypeError(
      `Cannot boot with devices[${index}] ${
        String(device)
      }: it is no device, which has attach(board)`,
    );
  }
  if (new Set(devices).size < devices.length) {
    throw new TypeError("Cannot boot with devices: one of them is there twice");
  }
  return {
    devices: [...devices],
    clock,
    hasOpenBus: oneOf("unclaimed", unclaimed, ["error", "open-bus"]) === "open-bus",
    restarts: oneOf("reset", reset, ["error", "restart"]) === "restart",
    resetsAtShutdown: oneOf("tripleFault", tripleFault, ["shutdown", "reset"]) === "reset",
  };
}

function oneOf<Value extends string>(option: string, value: Value, values: Value[]): Value {
  if (values.includes(value)) return value;
  throw new RangeError(
    `Cannot boot with ${option} ${JSON.stringify(value)}: it is ${
      values.map((each) => JSON.stringify(each)).join(" or ")
    }`,
  );
}

/** Handlers by address, of the options `ports` and `mmio`. */
function handlersOf<Handler>(
  option: string,
  handlers: HandlersByAddress<Handler> = [],
): readonly (readonly [AddressRange, Handler])[] {
  if (typeof handlers !== "object" || handlers === null) {
    throw new TypeError(
      `Cannot boot with ${option} ${
        String(handlers)
      }: give handlers by address, { 0x60: { read: () => 0 } }`,
    );
  }
  if (isIterable(handlers)) return [...handlers];
  checkNames(`boot with ${option}`, handlers);
  return Object.entries(handlers).map(([address, handler]) => {
    if (/^\d+$/.test(address)) return [Number(address), handler];
    throw new TypeError(
      `Cannot boot with ${option} at ${
        JSON.stringify(address)
      }: it is no address; give { 0x60: … }, or a list of pairs`,
    );
  });
}

function isIterable<Handler>(
  handlers: HandlersByAddress<Handler>,
): handlers is Iterable<readonly [AddressRange, Handler]> {
  return Symbol.iterator in handlers;
}

function checkExitPort(port: number | undefined): number | undefined {
  if (port === undefined || (Number.isInteger(port) && port >= 0 && port <= LAST_PORT)) return port;
  throw new RangeError(
    `Cannot boot with exitPort ${JSON.stringify(port)}: it is not a whole number from 0 to ${
      hex(LAST_PORT)
    }`,
  );
}

function checkRecordExits(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_RECORDED_EXITS) return count;
  throw new RangeError(
    `Cannot record ${count} exits: it is not a whole number from 1 to ${MOST_RECORDED_EXITS}`,
  );
}

/** The most arguments that KVM_ENABLE_CAP takes. */
const MOST_ARGUMENTS = 4;

/** A capability with the arguments that switch it on. */
interface EnabledCapability {
  /** Its name. */
  readonly name: CapabilityName;
  /** The arguments. */
  readonly args: readonly (number | bigint)[];
}

/**
 * Reads the option `capabilities`.
 *
 * @throws {RangeError} When there is none of a name, or it has too many arguments.
 */
function planCapabilities(capabilities: VmCapabilities): EnabledCapability[] {
  return definedEntries("enable", capabilities).flatMap(([name, given]) => {
    if (!Object.hasOwn(CAPABILITIES, name)) {
      throw new RangeError(
        `Cannot enable ${
          JSON.stringify(name)
        }: there is no capability of that name; the nearest are ${
          nearestNames(name, Object.keys(CAPABILITIES)).join(", ")
        }`,
      );
    }
    const args = Array.isArray(given) ? given : [given];
    if (args.length > MOST_ARGUMENTS) {
      throw new RangeError(
        `Cannot enable ${name} with ${args.length} arguments: a capability takes ${MOST_ARGUMENTS} at the most`,
      );
    }
    return [{ name: name as CapabilityName, args }];
  });
}
