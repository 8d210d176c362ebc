import type { ExitPattern } from "../../expect/patterns/exit_pattern.ts";
import type { MemoryContent } from "../../machine/memory/address_space.ts";
import type { BootOptions, Guest } from "../../machine/boot/boot_options.ts";
import type { AddressRange } from "../../devices/bus.ts";
import type { MmioHandler, PortHandler } from "../../devices/handlers.ts";
import type { Machine } from "../../machine/machine.ts";
import type { RegisterValues } from "../../machine/registers/registers.ts";

/** A piece of memory that a scenario expects something of once its guest has ended. */
export interface ExpectedMemory {
  /** What it is, for the reader: `"the answer to insb"`. */
  readonly what: string;
  /** Its address, or a label of the guest. */
  readonly at: number | string;
  /** Whether `at` goes through the guest's page tables. Without it, it is a physical address. */
  readonly linear?: boolean;
  /** What it must hold. */
  readonly content: MemoryContent;
}

/** A guest of the demo, the machine that it runs in, and all that must come of it. */
export interface Scenario {
  /** What `vmexit demo NAME` calls it. */
  readonly name: string;
  /** Its heading. */
  readonly title: string;
  /** What it shows, in a sentence. */
  readonly sentence: string;
  /** Where its source is, or the guest itself. */
  readonly guest: URL | Guest;
  /** The machine. */
  readonly options: BootOptions;
  /** What is done to the machine before it runs. */
  readonly prepare?: (vm: Machine) => void;
  /** Devices on its I/O ports. */
  readonly ports?: readonly (readonly [AddressRange, PortHandler])[];
  /** Devices at physical addresses without memory. */
  readonly mmio?: readonly (readonly [AddressRange, MmioHandler])[];
  /** The exits, all of them, in their order. */
  readonly exits: readonly ExitPattern[];
  /** How it must end. */
  readonly end: "HLT" | "SHUTDOWN" | "fault" | "time limit";
  /** What it must have written, by port. */
  readonly output?: readonly (readonly [port: number, text: string])[];
  /** Registers at its end. */
  readonly registers?: RegisterValues;
  /** Memory at its end. */
  readonly memory?: readonly ExpectedMemory[];
}
