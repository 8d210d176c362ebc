import type { Device, DeviceBoard } from "../devices/device.ts";
import type { Exit } from "../kvm/exits/exit.ts";
import { describeExit } from "../kvm/exits/describe_exit.ts";
import { boot } from "../machine/boot/boot.ts";
import type { Machine } from "../machine/machine.ts";
import { isOfGuest } from "../machine/run/run_errors.ts";
import { KVM_SYSTEM_EVENT } from "../kvm/abi/constants.ts";
import { hex } from "../x86/hex.ts";
import { readRunArguments, type RunArguments } from "./run_arguments.ts";
import { boardOf, type RunBoard } from "./run_board.ts";

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
 * `vmexit run FILE`: boots a kernel, a ROM, a boot sector or any other image on the board of a PC, with a disk where one
 * is given, and shows what it writes to COM1, to the debug console and by its BIOS, and at the end its screen.
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
  const board = boardOf(given);
  const { image, options: bootOptions, devices, tables } = board;
  writeError(`vmexit: ${image.description}`);
  const monitor = new Monitor(board, given, write);
  using vm = boot(image, { ...bootOptions, devices: [monitor, ...devices] } as typeof bootOptions);
  if (tables !== undefined) vm.memory.write(tables.address, tables.bytes);
  try {
    if (given.gdb !== undefined) debug(vm, monitor, given.gdb, writeError);
    return await drive(vm, monitor, { given, writeError, signal });
  } finally {
    monitor.show();
    monitor.showScreen();
  }
}

/** Hands the guest to gdb, until that lets go of it: it runs on by itself then. */
function debug(
  vm: Machine,
  monitor: Monitor,
  port: number,
  writeError: (line: string) => void,
): void {
  monitor.pauses = false;
  try {
    vm.serveGdb({
      port,
      onListening: (port) => writeError(`vmexit: waits for gdb -ex "target remote :${port}"`),
    });
  } finally {
    monitor.pauses = true;
  }
}

/** How often the guest's output is looked at, and how often the process looks at its signals. */
const SHOW_NANOSECONDS = 20e6;
const PAUSES = 10;

/** Thrown out of a run, between two instructions of the guest: the run goes on, or ends here. */
class Pause {
  constructor(readonly ends: boolean) {}
}

/** A source of text that the guest writes. */
interface Output {
  /** How much of it was shown. */
  shown: number;
  /** What is behind that. */
  readonly fresh: (shown: number) => Uint8Array;
  /** The end of what was shown, in which the text that is waited for may have begun. */
  tail: Uint8Array;
}

/** Shows what the guest writes while it runs, and watches for the text that ends the run. */
class Monitor implements Device {
  /** See {@linkcode Device.name}. */
  readonly name = "monitor";
  readonly #board: RunBoard;
  readonly #outputs: readonly Output[];
  readonly #until: Uint8Array | undefined;
  readonly #write: (bytes: Uint8Array) => void;
  #isSeen = false;
  #ticks = 0;
  /** Whether it stops the run now and then. */
  pauses = true;

  constructor(board: RunBoard, { until }: RunArguments, write: (bytes: Uint8Array) => void) {
    const { consoles, bios } = board;
    this.#board = board;
    this.#until = until === undefined ? undefined : new TextEncoder().encode(until);
    this.#write = write;
    this.#outputs = [
      ...consoles.map((console) => (shown: number) => console.bytesFrom(shown)),
      ...bios === undefined
        ? []
        : [(shown: number) => new TextEncoder().encode(bios.printed).subarray(shown)],
    ].map((fresh) => ({ fresh, shown: 0, tail: new Uint8Array() }));
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
      if (this.pauses && (this.#isSeen || this.#ticks % PAUSES === 0)) {
        throw new Pause(this.#isSeen);
      }
    };
    timers.at(timers.now + SHOW_NANOSECONDS, tick);
  }

  /** Shows what is new. */
  show(): void {
    for (const output of this.#outputs) {
      const fresh = output.fresh(output.shown);
      if (fresh.length === 0) continue;
      output.shown += fresh.length;
      this.#write(fresh);
      if (this.#until !== undefined) this.#look(output, fresh, this.#until);
    }
    const { screen } = this.#board;
    if (this.#until === undefined || screen === undefined || this.#isSeen) return;
    this.#isSeen = includes(new TextEncoder().encode(screen.text), this.#until);
  }

  /** Shows the screen, where the guest has written to it without its BIOS. */
  showScreen(): void {
    const { screen, bios } = this.#board;
    if (screen === undefined || (bios?.printed ?? "") !== "") return;
    const { text } = screen;
    if (text !== "") this.#write(new TextEncoder().encode(`${text}\n`));
  }

  #look(output: Output, fresh: Uint8Array, until: Uint8Array): void {
    const all = new Uint8Array(output.tail.length + fresh.length);
    all.set(output.tail);
    all.set(fresh, output.tail.length);
    this.#isSeen ||= includes(all, until);
    // What may be the beginning of the text.
    output.tail = all.slice(Math.max(0, all.length - until.length + 1));
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
