import { DebugConsole } from "../devices/debug_console.ts";
import type { Device, DeviceBoard } from "../devices/device.ts";
import { Disk } from "../devices/disk.ts";
import { I8042 } from "../devices/i8042/i8042.ts";
import { IdeDisk } from "../devices/ata/ide_disk.ts";
import { PostCodes } from "../devices/post_codes.ts";
import { ResetControl } from "../devices/reset_control.ts";
import { Uart } from "../devices/uart.ts";
import { Image } from "../guest/image.ts";
import type { Exit } from "../kvm/exits/exit.ts";
import { describeExit } from "../kvm/exits/describe_exit.ts";
import { boot } from "../machine/boot/boot.ts";
import type { BootOptions } from "../machine/boot/boot_options.ts";
import type { Machine } from "../machine/machine.ts";
import { isOfGuest } from "../machine/run/run_errors.ts";
import { KVM_SYSTEM_EVENT } from "../kvm/abi/constants.ts";
import { hex } from "../x86/hex.ts";
import { PORT } from "../x86/layout.ts";
import { readFile, readRunArguments, type RunArguments } from "./run_arguments.ts";

/** Exit codes beside the guest's own. */
const CODE = {
  /** It halted, or turned the power off, or the text came that was waited for. */
  WELL: 0,
  /** It faulted, reset the machine, or ended without the text. */
  FAILED: 1,
  /** The time is over, as timeout(1) has it. */
  TIME_OVER: 124,
} as const;

/** What the command takes from its surroundings; tests give it other ones. */
export interface RunCommandOptions {
  /** Takes what the guest writes. */
  readonly write?: (bytes: Uint8Array) => void;
  /** Takes lines about the run. */
  readonly writeError?: (line: string) => void;
  /** Ends the run when it is aborted. */
  readonly signal?: AbortSignal;
}

/**
 * `vmexit run FILE`: boots a kernel, a ROM, a boot sector or any other image on a board with serial line, keyboard
 * controller, interrupt controllers, timer, and a disk where one is given, and shows what it writes to COM1 and to the
 * debug console.
 *
 * @returns The exit code: `status << 1 | 1` of a guest that writes its status to port 0xf4, as QEMU's isa-debug-exit has
 *   it; 0 at a HLT that nothing can end, at power off, and as soon as the text of `--until` came; 124 when the time is
 *   over; 1 for every other end.
 * @throws {TypeError | RangeError} When the arguments are wrong, or the file cannot be booted.
 */
export async function run(
  args: readonly string[],
  options: RunCommandOptions = {},
): Promise<number> {
  const {
    write = (bytes) => Deno.stdout.writeSync(bytes),
    writeError = (line) => console.error(line),
    signal,
  } = options;
  const given = readRunArguments(args);
  const { kind, origin } = given;
  const image = Image.open(given.file, {
    ...kind === undefined ? {} : { kind },
    ...origin === undefined ? {} : { origin },
  });
  writeError(`vmexit: ${image.description}`);
  const monitor = new Monitor(given, write);
  using vm = boot(image, boardOf(image, given, monitor));
  try {
    return await drive(vm, monitor, { given, writeError, signal });
  } finally {
    monitor.show();
  }
}

const SIZES: Partial<Record<Image["kind"], string>> = {
  multiboot: "128M",
  multiboot2: "128M",
  pvh: "128M",
  linux: "256M",
  elf: "16M",
};

function boardOf(
  image: Image,
  { mode, memory = SIZES[image.kind], cpus, disk, kernel }: RunArguments,
  monitor: Monitor,
): BootOptions {
  const content = disk === undefined ? undefined : readFile(disk);
  const devices: Device[] = [monitor, ...monitor.consoles, new I8042(), new ResetControl()];
  devices.push(new PostCodes());
  if (content !== undefined) devices.push(new IdeDisk(new Disk(content)));
  return {
    ...mode === undefined ? {} : { mode },
    ...memory === undefined ? {} : { memory },
    ...kernel === undefined ? {} : { kernel },
    cpus,
    devices,
    serial: false,
    irqchip: true,
    pit: true,
    exitPort: PORT.exit,
    unclaimed: "open-bus",
  } as BootOptions;
}

/** How often the guest's output is looked at, and how often the process looks at its signals. */
const SHOW_NANOSECONDS = 20e6;
const PAUSES = 10;

/** How much output is kept of each console. */
const CAPACITY = 2 ** 26;

/** Thrown out of a run, between two instructions of the guest: the run goes on, or ends here. */
class Pause {
  constructor(readonly ends: boolean) {}
}

/** Shows what the guest writes while it runs, and watches for the text that ends the run. */
class Monitor implements Device {
  /** See {@linkcode Device.name}. */
  readonly name = "monitor";
  /** What is shown. */
  readonly consoles: readonly (Uart | DebugConsole)[] = [
    new Uart("COM1", CAPACITY),
    new DebugConsole(PORT.debugConsole, CAPACITY),
  ];
  readonly #shown = this.consoles.map(() => 0);
  readonly #tails = this.consoles.map(() => new Uint8Array());
  readonly #until: Uint8Array | undefined;
  readonly #write: (bytes: Uint8Array) => void;
  #isSeen = false;
  #ticks = 0;

  constructor({ until }: RunArguments, write: (bytes: Uint8Array) => void) {
    this.#until = until === undefined ? undefined : new TextEncoder().encode(until);
    this.#write = write;
  }

  /** Whether the text came that ends the run. */
  get isSeen(): boolean {
    return this.#isSeen;
  }

  /** See {@linkcode Device.attach}. */
  attach({ timers }: DeviceBoard): void {
    const tick = () => {
      timers.at(timers.now + SHOW_NANOSECONDS, tick);
      this.show();
      this.#ticks++;
      if (this.#isSeen || this.#ticks % PAUSES === 0) throw new Pause(this.#isSeen);
    };
    timers.at(timers.now + SHOW_NANOSECONDS, tick);
  }

  /** Shows what is new. */
  show(): void {
    for (const [index, console] of this.consoles.entries()) {
      const fresh = console.bytesFrom(this.#shown[index]);
      if (fresh.length === 0) continue;
      this.#shown[index] += fresh.length;
      this.#write(fresh);
      if (this.#until !== undefined) this.#look(index, fresh, this.#until);
    }
  }

  #look(index: number, fresh: Uint8Array, until: Uint8Array): void {
    const tail = this.#tails[index];
    const all = new Uint8Array(tail.length + fresh.length);
    all.set(tail);
    all.set(fresh, tail.length);
    this.#isSeen ||= includes(all, until);
    // What may be the beginning of the text.
    this.#tails[index] = all.slice(Math.max(0, all.length - until.length + 1));
  }
}

function includes(bytes: Uint8Array, part: Uint8Array): boolean {
  for (let at = bytes.indexOf(part[0]); at >= 0; at = bytes.indexOf(part[0], at + 1)) {
    if (part.every((byte, index) => bytes[at + index] === byte)) return true;
  }
  return false;
}

interface DriveContext {
  readonly given: RunArguments;
  readonly writeError: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

async function drive(
  vm: Machine,
  monitor: Monitor,
  { given, writeError, signal }: DriveContext,
): Promise<number> {
  const end = performance.now() + given.timeout * 1000;
  const say = (what: string) => writeError(`\nvmexit: ${what}`);
  for (;;) {
    try {
      const exit = given.trace ? traced(vm, writeError) : vm.run({ timeout: MOST_MILLISECONDS });
      return codeOf(vm, monitor, exit, given, say);
    } catch (error) {
      if (error instanceof Pause) {
        if (error.ends) return CODE.WELL;
      } else {
        if (!isOfGuest(error)) throw error;
        say(error.message);
        return CODE.FAILED;
      }
    }
    if (performance.now() >= end) {
      say(`the time is over (${given.timeout} s); more by --timeout\n${whereabouts(vm)}`);
      return CODE.TIME_OVER;
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
  }
}

/** The monitor pauses runs long before. */
const MOST_MILLISECONDS = 60_000;

function traced(vm: Machine, writeError: (line: string) => void): Exit {
  let last: Exit | undefined;
  for (const { number, cpu, exit, answeredBy } of vm.exits({ timeout: MOST_MILLISECONDS })) {
    const whose = vm.cpus.length === 1 ? "" : `CPU ${cpu}  `;
    const answer = answeredBy === undefined ? "" : `  ${answeredBy}`;
    writeError(`${String(number).padStart(8)}  ${whose}${describeExit(exit)}${answer}`);
    last = exit;
  }
  if (last === undefined) throw new Error("Every CPU of the guest waits for another to start it");
  return last;
}

function codeOf(
  vm: Machine,
  monitor: Monitor,
  exit: Exit,
  { until }: RunArguments,
  say: (what: string) => void,
): number {
  const { exitStatus } = vm;
  monitor.show();
  if (monitor.isSeen) return CODE.WELL;
  const isOff = exit.reason === "SYSTEM_EVENT" && exit.type === KVM_SYSTEM_EVENT.SHUTDOWN;
  const how = exitStatus !== undefined
    ? `the guest ended with the status ${exitStatus}`
    : isOff
    ? "the guest turned the power off"
    : `the guest ended by ${describeExit(exit)}`;
  say(until === undefined ? how : `${how}, and did not write ${JSON.stringify(until)}`);
  if (until !== undefined) return CODE.FAILED;
  // As isa-debug-exit has it: a status of 0 is not the exit code of a program that ended well.
  if (exitStatus !== undefined) return (exitStatus << 1 | 1) & 0xff;
  return isOff || exit.reason === "HLT" ? CODE.WELL : CODE.FAILED;
}

/** Where the CPUs are: their instructions' linear addresses. */
function whereabouts(vm: Machine): string {
  return vm.cpus.map(({ registers: { cs, rip } }, number) =>
    `CPU ${number} at ${hex(cs.base + rip)}`
  ).join(", ");
}
