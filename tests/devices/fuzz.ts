import type { BootOptions } from "@vmexit/vmexit";
import type { AddressRange, Device, DeviceBoard, DeviceMemory } from "@vmexit/vmexit/devices";
import fc from "fast-check";
import { emulatedMachine } from "../../lib/kvm/remote/kvm_choice.ts";
import { type Access, bootAccesses, OPERATIONS, perform } from "./accesses.ts";

/** Memory that devices may read and write by DMA. The rest is the guest's code and its table, which stay whole. */
export const FUZZ_SCRATCH = { start: 0x30_0000, size: 0x10_0000 } as const;

const MEMORY = FUZZ_SCRATCH.start + FUZZ_SCRATCH.size;

/** Accesses of a machine, and how many machines do them: 100,000 together, a tenth of them where exits are emulated. */
const ACCESSES = 10_000;
const MACHINES = emulatedMachine() === undefined ? 10 : 1;

/** What is fuzzed, and with what. */
export interface Fuzz {
  /** Makes the devices, for each machine anew. */
  readonly devices: () => readonly Device[];
  /** The ports to access, and those around them that the devices must not take. */
  readonly ports?: readonly AddressRange[];
  /** The physical addresses to access. */
  readonly mmio?: readonly AddressRange[];
  /** Values that get a guest further than random ones do: magic numbers, keys, addresses. */
  readonly values?: readonly number[];
  /** What else the machine is booted with. */
  readonly options?: BootOptions;
  /** Puts something into the scratch memory: rings, descriptors. Called before the guest runs. */
  readonly prepare?: (memory: DeviceMemory) => void;
}

/**
 * Lets guests make 100,000 random accesses to devices: none may throw, hang, or leave the machine unusable. What fails
 * is reported by fast-check with its seed.
 */
export function fuzz(
  { devices, ports = [], mmio = [], values = [], options, prepare }: Fuzz,
): void {
  const targets = [
    ...ports.map((range) => accesses(range, 0, values)),
    ...mmio.map((range) => accesses(range, OPERATIONS, values)),
  ];
  const all = fc.array(fc.oneof(...targets), {
    minLength: ACCESSES,
    maxLength: ACCESSES,
    size: "max",
  });
  const { failed, seed, errorInstance } = fc.check(
    fc.property(all, (accesses) => {
      using vm = bootAccesses({
        unclaimed: "open-bus",
        timeout: 60_000,
        ...options,
        memory: MEMORY,
        devices: devices().map(limited),
      } as BootOptions);
      prepare?.(vm.memory);
      perform(vm, accesses);
      // Once more, from the state in which they have left it.
      perform(vm, accesses.slice(0, 100));
    }),
    { numRuns: MACHINES, endOnFailure: true },
  );
  // Without the thousands of accesses, which the seed stands for.
  if (failed) throw new Error(`Fuzzed with the seed ${seed}`, { cause: errorInstance });
}

/** Accesses of every width to a range: operation, address, value. */
function accesses(
  range: AddressRange,
  operation: number,
  values: readonly number[],
): fc.Arbitrary<Access> {
  const [first, last] = typeof range === "number" ? [range, range] : range;
  const scratch = { min: FUZZ_SCRATCH.start, max: MEMORY - 1 };
  return fc.tuple(
    fc.integer({ min: operation, max: operation + OPERATIONS - 1 }),
    fc.integer({ min: first, max: last }),
    fc.oneof(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.integer({ min: 0, max: 0xff }),
      fc.integer(scratch),
      ...values.length > 0 ? [fc.constantFrom(...values)] : [],
    ),
  );
}

/** A device that reaches the scratch memory alone. */
function limited(device: Device): Device {
  const { start, size } = FUZZ_SCRATCH;
  const check = (gpa: number, length: number) => {
    if (gpa < start || gpa + length > start + size) throw new RangeError("not the scratch memory");
  };
  return {
    name: device.name,
    attach: (board: DeviceBoard) =>
      device.attach({
        ports: board.ports,
        mmio: board.mmio,
        timers: board.timers,
        get ram() {
          return board.ram;
        },
        get cpu() {
          return board.cpu;
        },
        memory: {
          read: (gpa, length) => (check(gpa, length), board.memory.read(gpa, length)),
          write: (gpa, bytes) => (check(gpa, bytes.length), board.memory.write(gpa, bytes)),
        },
        shadow: (segments) => board.shadow(segments),
        get a20() {
          return board.a20;
        },
        set a20(open) {
          board.a20 = open;
        },
        interruptLine: (irq) => board.interruptLine(irq),
        signalMsi: (address, data) => board.signalMsi(address, data),
        connectInterruptController: (controller) => board.connectInterruptController(controller),
        reset: () => board.reset(),
        powerOff: () => board.powerOff(),
      }),
    reset: () => device.reset?.(),
    save: () => device.save?.(),
    restore: (state) => device.restore?.(state),
  };
}
