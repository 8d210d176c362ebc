import { checkAddress } from "../../guest/address.ts";
import type { CpuState, Mode } from "../../x86/boot/cpu_state.ts";
import type { Image } from "../../guest/image.ts";
import type { RegisterValues } from "../registers/registers.ts";
import { SeededInterleaving } from "../run/interleaving.ts";
import type { BootOptions, CpuOptions, LongOptions } from "./boot_options.ts";

type SeveralOptions =
  & Pick<
    BootOptions,
    "cpus" | "interleaving" | "irqchip" | "smm"
  >
  & {
    readonly catchFaults?: boolean;
    readonly cpl?: number;
  };

/** As many local APIC ids as there are for CPUs: 0xff means all of them (Intel SDM Vol. 3A, 10.6.2.1). */
const MOST_CPUS = 0xff;

/** How far the stacks of CPUs are apart where they are given none. */
const STACK_SIZE = 0x400n;

/** Where faults are not reported on the stack that the CPU has. */
const MODES_WITH_ONE_STACK: ReadonlySet<Mode> = new Set<Mode>([
  "compatibility",
  "long",
  "virtual8086",
]);

/** How many CPUs a machine has, and whether they start at once. */
export interface CpuCount {
  /** How many. */
  readonly count: number;
  /** Whether all but the first wait for a SIPI. */
  readonly waitForSipi: boolean;
}

/**
 * Reads the option `cpus`, and what does not go with it.
 *
 * @throws {RangeError} When they are not from 1 to 255.
 * @throws {TypeError} When other options do not go with them.
 */
export function planCpuCount(options: SeveralOptions, mode: Mode): CpuCount {
  const { cpus = 1, irqchip } = options;
  if (typeof cpus !== "number" && !Array.isArray(cpus)) {
    throw new TypeError(
      `Cannot boot with cpus ${
        JSON.stringify(cpus)
      }: give how many, or a list with the options of each`,
    );
  }
  const count = typeof cpus === "number" ? cpus : cpus.length;
  if (!Number.isInteger(count) || count < 1 || count > MOST_CPUS) {
    throw new RangeError(
      `Cannot boot ${count} CPUs: it is not a whole number from 1 to ${MOST_CPUS}`,
    );
  }
  const waitForSipi = typeof cpus === "number" && count > 1;
  if (waitForSipi && irqchip === false) {
    throw new TypeError(
      `Cannot boot ${count} CPUs with \`irqchip: false\`: all but the first wait for a SIPI, which only a local APIC ` +
        "sends. Leave `irqchip` out, or let them start at once: `cpus: [{}, { entry: … }]`.",
    );
  }
  if (count > 1) checkShared(options, count, mode);
  return { count, waitForSipi };
}

/**
 * Reads the option `interleaving`.
 *
 * @throws {RangeError} When a seed is none.
 * @throws {TypeError} When there is one CPU only.
 */
export function planInterleaving(
  { interleaving }: Pick<BootOptions, "interleaving">,
  count: number,
): SeededInterleaving | undefined {
  if (interleaving === undefined) return undefined;
  if (count > 1) return new SeededInterleaving(interleaving);
  throw new TypeError(
    "Cannot interleave the only CPU of a machine with others: give it some with the option `cpus`",
  );
}

/** Registers over those of the mode's state, in the order in which they are set. */
export type StartRegisters = readonly RegisterValues[];

/** What {@linkcode planStarts} needs to know of the guest. */
export interface GuestStart {
  /** The guest, for its labels. */
  readonly image: Image;
  /** The linear address at which CPU 0 starts. */
  readonly entry: bigint;
  /** The state in which it does. */
  readonly state: CpuState;
}

/**
 * How each CPU starts; undefined for those that wait for a SIPI.
 *
 * @throws {RangeError} When an entry is no label of the guest, or there is no room for a stack.
 */
export function planStarts(
  options: BootOptions,
  { count, waitForSipi }: CpuCount,
  guest: GuestStart,
): (StartRegisters | undefined)[] {
  const own = Array.isArray(options.cpus) ? options.cpus : [];
  return Array.from(
    { length: count },
    (_, number) =>
      number > 0 && waitForSipi ? undefined : planStart(options, guest, number, own[number] ?? {}),
  );
}

function planStart(
  options: BootOptions,
  { image, entry, state: { registers, fpu } }: GuestStart,
  number: number,
  own: CpuOptions,
): StartRegisters {
  const { convention, cpuNumber = 0 } = options as LongOptions;
  const start: RegisterValues[] = [];
  if (fpu !== undefined) start.push({ ...fpu });
  if (number > 0 && own.stack === undefined) {
    start.push({ rsp: stackOf(number, registers.rsp ?? 0n) });
  }
  if (convention === "unikernel") start.push({ rsi: BigInt(cpuNumber + number) });
  if (options.registers !== undefined) start.push(options.registers);
  if (own.stack !== undefined) {
    start.push({ rsp: checkAddress(own.stack, `the stack of CPU ${number}`) });
  }
  if (own.entry !== undefined) {
    const address = typeof own.entry === "string"
      ? image.symbol(own.entry)
      : checkAddress(own.entry, `the entry of CPU ${number}`);
    start.push({ rip: (registers.rip ?? 0n) + address - entry });
  }
  if (own.registers !== undefined) start.push(own.registers);
  return start;
}

function stackOf(number: number, rsp: bigint): bigint {
  const top = rsp - BigInt(number) * STACK_SIZE;
  if (top > 0n) return top;
  throw new RangeError(
    `Cannot give CPU ${number} a stack: ${STACK_SIZE} bytes for each of the CPUs before it leave no room below 0x${
      rsp.toString(16)
    }. Give it one: \`cpus: [{ stack: … }]\`.`,
  );
}

/** What lies in memory once, and cannot serve two CPUs at the same time. */
function checkShared(
  { cpus, catchFaults, cpl, smm }: SeveralOptions,
  count: number,
  mode: Mode,
): void {
  if (catchFaults && (typeof cpus === "number" || MODES_WITH_ONE_STACK.has(mode) || cpl === 3)) {
    throw new TypeError(
      `Cannot catch faults of ${count} CPUs${
        typeof cpus === "number"
          ? ": those that wait for a SIPI start without the fault catcher's IDT. Let them start at once: `cpus: [{}, {}]`."
          : ": the fault catcher has one stack in long and virtual-8086 mode, and for CPL 3. Boot with one CPU to catch a " +
            "fault."
      }`,
    );
  }
  if (smm !== undefined) {
    throw new TypeError(
      `Cannot give ${count} CPUs an SMM handler: they would save their states at the same place. Boot with one CPU.`,
    );
  }
  if (cpl === 3 && typeof cpus !== "number") {
    throw new TypeError(
      `Cannot start ${count} CPUs at CPL 3: there is one TSS, and so one stack for CPL 0. Start them at CPL 0, or ` +
        "leave that to the guest.",
    );
  }
}
