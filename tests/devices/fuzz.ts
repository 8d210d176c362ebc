import type { BootOptions, Machine } from "@vmexit/vmexit";
import {
  type Device,
  type DeviceBoard,
  type DeviceCpu,
  type DeviceMemory,
  type MmioHandler,
  type PortHandler,
  TestClock,
} from "@vmexit/vmexit/devices";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { emulatedMachine } from "../../lib/kvm/remote/kvm_choice.ts";
import { type Access, bootAccesses, OPERATIONS, perform, REPEATED_INPUTS } from "./accesses.ts";

/** Memory that devices may read and write by DMA. The rest is the guest's code and its table, which stay whole. */
export const FUZZ_SCRATCH = { start: 0x30_0000, size: 0x10_0000 } as const;

const MEMORY = FUZZ_SCRATCH.start + FUZZ_SCRATCH.size;

const ACCESSES_OF_MACHINE = 10_000;

/**
 * How many machines there are, each with devices anew: ten, but one where exits are emulated, unless `deno task fuzz`
 * asks for all.
 */
const IS_ALL = emulatedMachine() === undefined || Deno.args[0] === "all";
const MACHINES = IS_ALL ? 10 : 1;

/** How many accesses guests make to the devices of a case. */
export const FUZZED_ACCESSES = MACHINES * ACCESSES_OF_MACHINE;

/** Among all tests an emulated machine makes fewer to a device whose accesses move memory, which takes a millisecond. */
const SHARE_OF_SLOW = 5;

/** How many accesses a machine makes, and all together. */
function accessesOf({ isSlow }: Fuzz): number {
  return ACCESSES_OF_MACHINE / (isSlow && !IS_ALL ? SHARE_OF_SLOW : 1);
}
export const fuzzedAccesses = (fuzz: Fuzz): number => MACHINES * accessesOf(fuzz);

/** A seed that has failed: `deno task fuzz SEED`. */
export const FUZZ_SEED = Deno.args[1] === undefined ? undefined : Number(Deno.args[1]);

const WIDTHS = 3;
const WIDEST = 4;
const FIRST_WRITE = WIDTHS;

/** Of ten accesses to ports three are reads, by fours; of those to memory one. */
const MOST_READS = 7;
const WEIGHT = { writes: 9, reads: 1 } as const;

/** Of the accesses of a machine a device must get a hundredth: more than strays. */
const LEAST_REACHED = 0.01;

/** Where nothing is: a zone of coalesced writes, with which the machine begins to deliver those of others, too. */
const UNUSED_PAGE = 0xfffe_0000;

/** What is fuzzed, and with what. */
export interface Fuzz {
  /** What is fuzzed, of what `@vmexit/vmexit/devices` exports. Other devices may be there as well. */
  readonly of: readonly unknown[];
  /** Makes the devices, for each machine anew. */
  readonly devices: () => readonly Device[];
  /** The ports to access, and those around them that the devices must not take. */
  readonly ports?: readonly (readonly [first: number, last: number])[];
  /** The physical addresses to access. */
  readonly mmio?: readonly (readonly [first: number, last: number])[];
  /** Values that get a guest further than random ones do: magic numbers, keys, addresses. */
  readonly values?: readonly number[];
  /** Whether accesses take long. */
  readonly isSlow?: boolean;
  /** What else the machine is booted with. */
  readonly options?: BootOptions;
  /** Puts something into the scratch memory: rings, descriptors. Called before the guest runs. */
  readonly prepare?: (memory: DeviceMemory) => void;
  /** What a strict device says of accesses that are faults of the guest's. The guest goes on all the same. */
  readonly refusal?: string;
}

/**
 * Lets guests make random accesses to devices: none may throw, hang, or leave the machine unusable, and what a
 * device saves then it takes, and saves again. What fails is reported by fast-check with its seed.
 *
 * An exit of an emulated machine takes a tenth of a millisecond or two. So writes are coalesced: the kernel gathers them,
 * and the machine hands them over in their order before the next exit, which takes less than half of that. Ports are read
 * four times in a row on the average, by one `rep ins`, which is one exit.
 */
export function fuzz(fuzzed: Fuzz): void {
  const { of, devices, options, prepare } = fuzzed;
  const isStateKept = (device: Device) => device.save !== undefined;
  const { failed, seed, errorInstance } = fc.check(
    fc.property(accessesTo(fuzzed), (accesses) => {
      const made = devices();
      const reached = new Map<Device, number>();
      using vm = bootAccesses({
        unclaimed: "open-bus",
        timeout: 60_000,
        // The same seed is the same run.
        clock: new TestClock(),
        ...options,
        memory: MEMORY,
        devices: made.map((device) =>
          limited(device, fuzzed.refusal, () => reached.set(device, (reached.get(device) ?? 0) + 1))
        ),
      } as BootOptions);
      coalesce(vm, fuzzed);
      prepare?.(vm.memory);
      perform(vm, accesses);
      // Once more, from the state in which they have left it.
      perform(vm, accesses.slice(0, 100));
      for (const device of made) {
        const isFuzzed = of.includes(device.constructor) || device.constructor === Object;
        if (!isFuzzed || (reached.get(device) ?? 0) > LEAST_REACHED * accessesOf(fuzzed)) continue;
        throw new Error(`${device.name} was reached ${reached.get(device) ?? 0} times`);
      }
      for (const device of made.filter(isStateKept)) {
        const state = device.save!();
        assertEquals(structuredClone(state), state, `the state of ${device.name} is plain data`);
        device.restore!(structuredClone(state));
        assertEquals(device.save!(), state, `${device.name} has the state that it has got`);
      }
    }),
    { numRuns: MACHINES, endOnFailure: true, seed: FUZZ_SEED },
  );
  // Without the thousands of accesses, which the seed stands for.
  if (failed) {
    throw new Error(`Fuzzed with the seed ${seed} (deno task fuzz ${seed})`, {
      cause: errorInstance,
    });
  }
}

/** Lists of as many accesses as there are to be when repeated ones are counted as often as they are made. */
function accessesTo(fuzz: Fuzz): fc.Arbitrary<Access[]> {
  const { ports = [], mmio = [], values = [] } = fuzz;
  const value = fc.oneof(
    fc.integer({ min: 0, max: 0xffff_ffff }),
    fc.integer({ min: 0, max: 0xff }),
    fc.integer({ min: FUZZ_SCRATCH.start, max: MEMORY - 1 }),
    ...values.length > 0 ? [fc.constantFrom(...values)] : [],
  );
  const access = (
    operation: number,
    [first, last]: readonly [number, number],
    argument: fc.Arbitrary<number>,
  ): fc.Arbitrary<Access> =>
    fc.tuple(
      fc.integer({ min: operation, max: operation + WIDTHS - 1 }),
      fc.integer({ min: first, max: last }),
      argument,
    );
  const reads = fc.integer({ min: 1, max: MOST_READS });
  const targets = [
    ...ports.flatMap((range) => [
      { arbitrary: access(FIRST_WRITE, range, value), weight: WEIGHT.writes },
      { arbitrary: access(REPEATED_INPUTS, range, reads), weight: WEIGHT.reads },
    ]),
    ...mmio.flatMap((range) => [
      { arbitrary: access(OPERATIONS + FIRST_WRITE, range, value), weight: WEIGHT.writes },
      { arbitrary: access(OPERATIONS, range, fc.constant(0)), weight: WEIGHT.reads },
    ]),
  ];
  const most = accessesOf(fuzz);
  return fc.array(fc.oneof(...targets), { minLength: most, maxLength: most, size: "max" })
    .map((all) => {
      let count = 0;
      return all.filter((each) => {
        if (count >= most) return false;
        count += times(each);
        return true;
      });
    });
}

/** How many accesses it is. */
function times([operation, , value]: Access): number {
  return operation >= REPEATED_INPUTS ? value : 1;
}

/** Has the kernel gather the writes to what is accessed. They are handed to whoever has the address by then. */
function coalesce(vm: Machine, { ports = [], mmio = [] }: Fuzz): void {
  const { memory } = vm.kvm.vm;
  vm.mmio.coalesce([UNUSED_PAGE, UNUSED_PAGE], { write() {} });
  const zone = (pio: 0 | 1) => ([first, last]: readonly [number, number]) =>
    memory.registerCoalescedMmio({ addr: first, size: last - first + WIDEST, pio });
  ports.forEach(zone(1));
  mmio.forEach(zone(0));
}

/** A device that reaches the scratch memory alone, and what it refuses the guest. */
function limited(device: Device, refusal: string | undefined, reached: () => void): Device {
  const { start, size } = FUZZ_SCRATCH;
  const limit = <Address extends number | bigint>(
    memory: DeviceMemory<Address>,
  ): DeviceMemory<Address> => {
    const check = (address: Address, length: number) => {
      if (address < start || Number(address) + length > start + size) {
        throw new RangeError("not the scratch memory");
      }
    };
    return {
      read: (address, length) => (check(address, length), memory.read(address, length)),
      write: (address, bytes) => (check(address, bytes.length), memory.write(address, bytes)),
    };
  };
  return {
    name: device.name,
    attach: (board: DeviceBoard) =>
      device.attach({
        ports: {
          on: (range, handler) => board.ports.on(range, watched(handler, refusal, reached)),
        },
        mmio: { on: (range, handler) => board.mmio.on(range, watched(handler, refusal, reached)) },
        timers: board.timers,
        get ram() {
          return board.ram;
        },
        get cpu(): DeviceCpu {
          const { cpu } = board;
          return {
            number: cpu.number,
            linear: limit(cpu.linear),
            get: (name) => cpu.get(name),
            set: (name, value) => cpu.set(name, value),
          };
        },
        memory: limit(board.memory),
        shadow: (segments) => board.shadow(segments),
        placeRom: (gpa, content) => board.placeRom(gpa, content),
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
        init: () => board.init(),
        powerOff: () => board.powerOff(),
        describe: (text) => board.describe(text),
      }),
    reset: () => device.reset?.(),
    save: () => device.save?.(),
    restore: (state) => device.restore?.(state),
    [Symbol.dispose]: () => device[Symbol.dispose]?.(),
  };
}

/** A handler whose accesses are counted, and that may refuse what the guest does. */
function watched<Handler extends PortHandler | MmioHandler>(
  handler: Handler,
  refusal: string | undefined,
  reached: () => void,
): Handler {
  const watch = (method: "read" | "write") => (...args: unknown[]) => {
    reached();
    try {
      return (handler[method] as (...args: unknown[]) => unknown)(...args);
    } catch (error) {
      const isRefusal = error instanceof RangeError && refusal !== undefined &&
        error.message.includes(refusal);
      if (!isRefusal) throw error;
      return method === "read" ? 0 : undefined;
    }
  };
  return {
    name: handler.name,
    ...handler.read !== undefined && { read: watch("read") },
    ...handler.write !== undefined && { write: watch("write") },
  } as Handler;
}
