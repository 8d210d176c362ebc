import type { Uart } from "../devices/uart.ts";
import type { ExitPort } from "../devices/exit_port.ts";
import type { Image } from "../guest/image.ts";
import type { Exit } from "../kvm/exit.ts";
import type { AnswerFields } from "../kvm/exit_answer.ts";
import { kvm_regs } from "../kvm/abi/structs/regs.ts";
import type { GeneralRegister } from "../x86/registers.ts";
import type { Mode } from "../x86/cpu_state.ts";
import { LAST_PHYSICAL_ADDRESS, LAST_PORT } from "../x86/layout.ts";
import { type Bus, HandlerTable, type MmioHandler, type PortHandler } from "./bus.ts";
import { type ExitHandler, ExitHandlers, type HandledReason } from "./exit_handlers.ts";
import { ExitLog } from "./exit_log.ts";
import { GuestDriver } from "./guest_driver.ts";
import { LinearMemory } from "./linear_memory.ts";
import type { ExitsOptions, MachineParts, ObservedExit, RunOptions } from "./machine_types.ts";
import { PhysicalMemory } from "./physical_memory.ts";
import { PortOutput } from "./port_output.ts";
import { type Registers, registersOf } from "./registers.ts";
import { RunLoop } from "./run_loop.ts";
import { TimeLimit } from "./time_limit.ts";
import { TimeLimitError } from "./time_limit_error.ts";
import { UnhandledExitError } from "./unhandled_exit_error.ts";

/**
 * A virtual machine with one CPU, its memory and its devices, made by {@linkcode boot}. It is stopped
 * whenever test code has control.
 *
 * It holds file descriptors and memory: declare it with `using`. Once disposed, its guest is gone: running
 * it, registers, memory, ports and MMIO throw a `TypeError`. What was recorded stays readable: the log, port
 * output, the serial line's text, the exit status.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 *
 * using vm = boot(asm`
 *   mov dx, 0x3f8
 *   mov al, '!'
 *   out dx, al
 *   hlt
 * `);
 * const exit = vm.run();
 * console.log(exit.reason, vm.serial.text); // HLT !
 * ```
 */
export class Machine implements Disposable {
  /** The guest as it was loaded: its symbols, its lines. */
  readonly image: Image;
  /** The mode in which it was booted. */
  readonly mode: Mode;
  /** Memory by guest physical address. */
  readonly memory: PhysicalMemory;
  /** Memory by linear address, through the guest's page tables. */
  readonly linear: LinearMemory;
  /** The last exits. How many it keeps is the option `recordExits`. */
  readonly log: ExitLog;
  /** What the guest wrote to its ports, whoever answered. */
  readonly portOutput: PortOutput = new PortOutput();
  /** The registers, by every name. */
  readonly registers: Registers;
  readonly #parts: MachineParts;
  readonly #ports = new HandlerTable<PortHandler>("ports", LAST_PORT);
  readonly #mmio = new HandlerTable<MmioHandler>(
    "physical addresses",
    LAST_PHYSICAL_ADDRESS,
    (first, last) => this.memory.checkIsNoRam(first, last),
  );
  readonly #handlers = new ExitHandlers();
  readonly #limit: TimeLimit;
  readonly #driver: GuestDriver;
  readonly #store: MachineParts["store"];
  readonly #loop: RunLoop;
  #bootRegisters!: Readonly<Record<GeneralRegister, bigint>>;
  #serial: Uart | undefined;
  #exitPort: ExitPort | undefined;
  #disposed = false;

  /** Use {@linkcode boot}. Takes ownership of the VM, the vCPU and the open `/dev/kvm`. */
  constructor(parts: MachineParts) {
    this.#parts = parts;
    this.image = parts.image;
    this.mode = parts.mode;
    this.memory = new PhysicalMemory(parts.slots, () => this.checkUsable("use the memory"));
    this.#store = parts.store;
    this.registers = registersOf(this.#store);
    this.linear = new LinearMemory(this.memory, this.registers);
    this.log = new ExitLog(parts.recordExits);
    this.#limit = new TimeLimit(parts.libc);
    this.#loop = new RunLoop({
      vcpu: parts.vcpu,
      ports: this.#ports,
      mmio: this.#mmio,
      handlers: this.#handlers,
      log: this.log,
      portOutput: this.portOutput,
      limit: this.#limit,
      flushRegisters: () => this.#store.flush(),
      forgetRegisters: () => this.#store.forget(),
      timeOver: () => {
        throw new TimeLimitError(this, this.#limit.milliseconds);
      },
    });
    this.#driver = new GuestDriver({
      machine: this,
      vcpu: parts.vcpu,
      store: this.#store,
      loop: this.#loop,
      limit: this.#limit,
      timeout: parts.timeout,
    });
  }

  /** The I/O ports, for handlers. */
  get ports(): Bus<PortHandler> {
    this.checkUsable("use the ports");
    return this.#ports;
  }

  /** The physical addresses without memory, for handlers. */
  get mmio(): Bus<MmioHandler> {
    this.checkUsable("use the MMIO addresses");
    return this.#mmio;
  }

  /**
   * The serial line at COM1.
   *
   * @throws {TypeError} When the machine was booted with `serial: false`.
   */
  get serial(): Uart {
    if (this.#serial === undefined) {
      throw new TypeError(
        "Cannot use the serial line: the machine was booted with `serial: false`",
      );
    }
    return this.#serial;
  }

  /** The general registers as they were when the machine was booted. */
  get bootRegisters(): Readonly<Record<GeneralRegister, bigint>> {
    return this.#bootRegisters;
  }

  /** Whether the machine has its serial line at COM1. */
  get hasSerial(): boolean {
    return this.#serial !== undefined;
  }

  /** What the guest wrote to its exit port (the option `exitPort`), or undefined. */
  get exitStatus(): number | undefined {
    return this.#exitPort?.status;
  }

  /** The latest exit of the guest that test code has seen, or undefined before the first. */
  get lastExit(): Exit | undefined {
    return this.#driver.latest;
  }

  /**
   * Whether the guest stands at its latest exit: false before the first, and where the time limit stopped it.
   */
  get isAtExit(): boolean {
    return this.#loop.isAtExit;
  }

  /** Takes the devices that `boot` made. For `boot` alone. */
  connect(devices: { serial?: Uart; exitPort?: ExitPort }): void {
    this.#serial = devices.serial;
    this.#exitPort = devices.exitPort;
  }

  /**
   * Brings the registers that were set into the vCPU, and keeps them as those it was booted with. For `boot`
   * alone.
   */
  commitBootState(): void {
    this.#store.flush();
    this.#bootRegisters = kvm_regs.read(this.#store.view("general"));
  }

  /**
   * Runs the guest until it halts, shuts down, writes to its exit port, or {@linkcode Machine.stop} is
   * called; handlers answer its other exits.
   *
   * @returns The exit that ended the run.
   * @throws {UnhandledExitError} At an exit that no handler answers.
   * @throws {TimeLimitError} When it takes longer than its limit.
   * @throws {KvmError} When KVM refuses to run it.
   */
  run(options: RunOptions = {}): Exit {
    return fromCaller(this.run, () => this.#driver.run(options));
  }

  /**
   * Executes one instruction, and hands what it does to the handlers.
   *
   * @returns A DEBUG exit, or, where the instruction ended the run (HLT, a triple fault), that exit.
   * @throws As {@linkcode Machine.run} does.
   */
  step(options: RunOptions = {}): Exit {
    return fromCaller(this.step, () => this.#driver.step(options));
  }

  /**
   * The exits from here on, each as it happens, up to and including the first that cannot be run on from
   * (HLT, SHUTDOWN, an error). Handlers answer theirs; a read that nobody answers must be given
   * {@linkcode Machine.answer} before the next.
   *
   * The time limit is for all of them together; it is counted while the guest runs, not while test code has
   * control.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   in  al, 0x42
   *   out 0x43, al
   *   hlt
   * `);
   * for (const { number, exit } of vm.exits()) {
   *   if (exit.reason === "IO" && exit.direction === "in") vm.answer(number);
   * }
   * ```
   */
  exits(options: ExitsOptions = {}): Generator<ObservedExit, void, void> {
    return this.#driver.exits(options);
  }

  /**
   * Hands exits of a reason to `handler`, until the returned object is disposed; IO and MMIO have their buses.
   * `run` goes on after an exit that it takes.
   *
   * @throws {RangeError} When there is no such reason, or another handler has it.
   * @throws {TypeError} When it is IO or MMIO.
   *
   * @example
   * ```ts no-eval
   * import { asm, boot } from "@vmexit/vmexit";
   *
   * using vm = boot(asm`
   *   hlt
   *   hlt
   *   out 0x80, al
   * `);
   * let halts = 0;
   * vm.on("HLT", () => void halts++);
   * vm.ports.on(0x80, { write: () => vm.stop() });
   * vm.run();
   * console.log(halts); // 2
   * ```
   */
  on<Reason extends HandledReason>(reason: Reason, handler: ExitHandler<Reason>): Disposable {
    this.checkUsable("handle exits");
    return this.#handlers.on(reason, handler);
  }

  /**
   * Answers the latest exit, a read that no handler has answered.
   *
   * @param value A number, for one element; the bytes of the whole access; or, for exits that are neither IO
   *   nor MMIO, the fields that they are answered with (`{ ret: 0 }` for a hypercall).
   * @throws {TypeError} When there is nothing to answer.
   * @throws {RangeError} When the value does not fit.
   */
  answer(value: number | bigint | Uint8Array | AnswerFields): void {
    this.checkUsable("answer an exit");
    this.#driver.answer(value);
  }

  /** Ends the run when the handler that calls this returns: `run` then returns that handler's exit. */
  stop(): void {
    this.checkUsable("stop the machine");
    this.#driver.stop();
  }

  /**
   * Closes the VM and lets go of its memory; a second call does nothing.
   *
   * @throws {TypeError} From inside one of the machine's own handlers.
   */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    if (this.#driver.isRunning) {
      throw new TypeError(
        "Cannot dispose the machine: it is running. Call vm.stop() in the handler, and dispose it when run() has returned.",
      );
    }
    this.#disposed = true;
    this.#limit[Symbol.dispose]();
    this.#parts.vcpu[Symbol.dispose]();
    this.#parts.vm[Symbol.dispose]();
    this.#parts.kvm[Symbol.dispose]();
    this.#store.forget();
  }

  /** @throws {TypeError} When the machine is disposed, saying what cannot be done with it. */
  checkUsable(what: string): void {
    if (this.#disposed) {
      throw new TypeError(
        `Cannot ${what}: the machine is disposed. Look at it before its \`using\` ends.`,
      );
    }
  }
}

/** Runs `body`; the stack of an error about the guest begins at the line of the test that called `method`. */
function fromCaller(method: (options: RunOptions) => Exit, body: () => Exit): Exit {
  try {
    return body();
  } catch (error) {
    if (error instanceof UnhandledExitError || error instanceof TimeLimitError) {
      Error.captureStackTrace(error, method);
    }
    throw error;
  }
}
