import { bootState } from "../../x86/boot_state.ts";
import type { CpuState } from "../../x86/cpu_state.ts";
import type { MachineSettings } from "../board.ts";
import { type CpuidPlan, planCpuid } from "../cpuid/cpuid_options.ts";
import { planControllers } from "../interrupts/irqchip.ts";
import { planDirtyPages } from "../memory/dirty_rings.ts";
import { planSlots, type SlotPlan } from "../memory/memory_slots.ts";
import { sizeInBytes } from "../memory/size.ts";
import { msrEntries, type MsrEntry } from "../msrs/msrs.ts";
import { checkTimeout, DEFAULT_TIMEOUT_MILLISECONDS } from "../run/time_limit.ts";
import { defaultsOf, modeOf } from "./boot_mode.ts";
import type { BootOptions } from "./boot_options.ts";
import { planCpuCount, planInterleaving, planStarts, type StartRegisters } from "./cpu_plan.ts";
import type { Guest } from "./guest.ts";
import { placeGuest } from "./guest_placement.ts";
import { refuseUnknownOptions } from "./option_names.ts";
import { type SmmHandler, smmHandler } from "./smm_handler.ts";
import { type EnabledCapability, planCapabilities } from "./vm_capabilities.ts";

const DEFAULT_RECORD_EXITS = 64;
const MOST_RECORDED_EXITS = 2 ** 20;

/** All that `boot` is going to do: its options, each read once, with nothing left out. */
export interface BootPlan extends MachineSettings {
  /** The memory: the main slot, and the others. */
  readonly slots: readonly SlotPlan[];
  /** How the pages that the guest writes are noted: in the kernel's log, or in rings of so many entries. */
  readonly dirtyPages: "log" | number | undefined;
  /** Capabilities of the VM that are switched on. */
  readonly capabilities: readonly EnabledCapability[];
  /** What CPUID answers, where that is not simply all that KVM supports. */
  readonly cpuid: CpuidPlan | undefined;
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
  refuseUnknownOptions(mode, options);
  const memorySize = sizeInBytes(options.memory ?? defaults.memorySize);
  const { image, loadAddress, entry, layout } = placeGuest(
    guest,
    options,
    mode,
    defaults,
    memorySize,
  );
  const state = bootState(layout);
  const smm = options.smm && smmHandler(options.smm, image, memorySize);
  const { irqchip = cpus.waitForSipi } = options;
  return {
    image,
    mode,
    interleaving: planInterleaving(options, cpus.count),
    timeout: checkTimeout(options.timeout ?? DEFAULT_TIMEOUT_MILLISECONDS),
    recordExits: checkRecordExits(options.recordExits ?? DEFAULT_RECORD_EXITS),
    ...planControllers({ irqchip, pit: options.pit }),
    serial: options.serial ?? true,
    exitPort: options.exitPort,
    faultCatcher: state.faultCatcher,
    hasSmm: smm !== undefined,
    slots: planSlots(
      { size: memorySize, hugePages: options.hugePages ?? false },
      options.slots ?? [],
    ),
    dirtyPages: planDirtyPages(options.dirtyPages),
    capabilities: planCapabilities(options.capabilities ?? {}),
    cpuid: options.cpuid && planCpuid(options.cpuid),
    state,
    loadAddress,
    starts: planStarts(options, cpus, { image, entry, state }),
    msrs: [...msrEntries(state.msrs ?? {}), ...msrEntries(options.msrs ?? {})],
    smm,
  };
}

function checkRecordExits(count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_RECORDED_EXITS) return count;
  throw new RangeError(
    `Cannot record ${count} exits: it is not a whole number from 1 to ${MOST_RECORDED_EXITS}`,
  );
}
