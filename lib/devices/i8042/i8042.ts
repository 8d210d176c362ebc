import { PORT } from "../../x86/layout.ts";
import { checkOptions } from "../../x86/defined_entries.ts";
import { claimBytePorts } from "../byte_ports.ts";
import { checkedInteger } from "../checked.ts";
import type { Device, DeviceBoard, InterruptLine } from "../device.ts";
import { Keyboard } from "./keyboard.ts";
import { Mouse } from "./mouse.ts";
import { RELEASE, SET_1_RELEASE, translated } from "./scan_codes.ts";

/** Bits of the status register (IBM PS/2 Technical Reference, "Keyboard/Auxiliary Device Controller"). */
const STATUS = {
  OUTPUT_FULL: 0x01,
  SYSTEM: 0x04,
  COMMAND: 0x08,
  NOT_LOCKED: 0x10,
  AUX_OUTPUT_FULL: 0x20,
} as const;

/** Bits of the command byte. */
const CONFIGURATION = {
  KEYBOARD_INTERRUPT: 0x01,
  AUX_INTERRUPT: 0x02,
  SYSTEM: 0x04,
  KEYBOARD_DISABLED: 0x10,
  AUX_DISABLED: 0x20,
  TRANSLATE: 0x40,
} as const;

/** Bits of the output port. */
const OUTPUT_PORT = { NO_RESET: 0x01, A20: 0x02, IRQ1: 0x10, IRQ12: 0x20, UNUSED: 0xc0 } as const;

/** Commands, written to port 0x64. */
const COMMAND = {
  READ_RAM: 0x20,
  WRITE_RAM: 0x60,
  DISABLE_AUX: 0xa7,
  ENABLE_AUX: 0xa8,
  TEST_AUX: 0xa9,
  SELF_TEST: 0xaa,
  TEST_KEYBOARD: 0xab,
  DISABLE_KEYBOARD: 0xad,
  ENABLE_KEYBOARD: 0xae,
  READ_INPUT_PORT: 0xc0,
  READ_OUTPUT_PORT: 0xd0,
  WRITE_OUTPUT_PORT: 0xd1,
  WRITE_KEYBOARD_OUTPUT: 0xd2,
  WRITE_AUX_OUTPUT: 0xd3,
  WRITE_AUX: 0xd4,
  DISABLE_A20: 0xdd,
  ENABLE_A20: 0xdf,
  READ_TEST_INPUTS: 0xe0,
  PULSE: 0xf0,
} as const;

const RAM_SIZE = 0x20;
const PULSE_BITS = 0x0f;
const SELF_TEST_PASSED = 0x55;
const PORT_TEST_PASSED = 0x00;

/** The keyboard is not locked. */
const INPUT_PORT = 0x80;

const KEYBOARD_IRQ = 1;
const AUX_IRQ = 12;

/** A millisecond, in nanoseconds. */
const DEFAULT_INTERVAL = 1_000_000;

interface State {
  /** The internal RAM, whose first byte is the command byte. */
  ram: Uint8Array;
  output: number;
  isFull: boolean;
  isFromAux: boolean;
  /** An answer of the controller's own that waits for room: it keeps one. */
  answer: number | undefined;
  /** The command whose parameter is to come by port 0x60. */
  command: number | undefined;
  lastWasCommand: boolean;
  /** Whether the byte of set 2 before this one was the prefix of a release. */
  isRelease: boolean;
}

function afterReset(): State {
  const ram = new Uint8Array(RAM_SIZE);
  ram[0] = CONFIGURATION.KEYBOARD_INTERRUPT | CONFIGURATION.SYSTEM | CONFIGURATION.AUX_DISABLED |
    CONFIGURATION.TRANSLATE;
  return {
    ram,
    output: 0,
    isFull: false,
    isFromAux: false,
    answer: undefined,
    command: undefined,
    lastWasCommand: false,
    isRelease: false,
  };
}

/**
 * The keyboard and mouse controller of a PC (8042), at ports 0x60 and 0x64: {@linkcode I8042.keyboard} (IRQ 1) types
 * for the test, {@linkcode I8042.mouse} (IRQ 12) points. It opens and closes the A20 gate, and resets the CPUs (INIT#),
 * by its output port and by a pulse of that (command 0xfe).
 *
 * IBM PS/2 Technical Reference, "Keyboard/Auxiliary Device Controller". What the test types comes key by
 * key, a millisecond after the one before was taken.
 * After reset it is as firmware leaves it: keyboard on, IRQ 1 enabled, translation to scan code set 1. Left out: the
 * input buffer (it is always empty), passwords, parity and time-outs, and scan code set 3.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { I8042 } from "@vmexit/vmexit/devices";
 *
 * const i8042 = new I8042();
 * using vm = boot(asm`
 * wait_for_key:
 *   in  al, 0x64
 *   test al, 1
 *   jz wait_for_key
 *   in  al, 0x60
 *   hlt
 * `, { devices: [i8042] });
 * i8042.keyboard.type("a");
 * vm.run();
 * console.log(vm.registers.al); // 30, the scan code of A
 * ```
 */
export class I8042 implements Device {
  /** The name in tables of exits. */
  readonly name = "i8042";
  /** The keyboard. */
  readonly keyboard: Keyboard = new Keyboard(() => this.#fill());
  /** The mouse. */
  readonly mouse: Mouse = new Mouse(() => this.#fill());
  readonly #interval: number;
  #planned: (Disposable & { readonly deadline: number }) | undefined;
  #board: DeviceBoard | undefined;
  #keyboardLine: InterruptLine | undefined;
  #auxLine: InterruptLine | undefined;
  #state = afterReset();

  /**
   * A controller with a keyboard and a mouse.
   *
   * @param options `interval`: the nanoseconds after which the next key is pressed or released, or the mouse moves, when
   *   the guest has taken what was before. Default 1,000,000: a millisecond.
   * @throws {RangeError} When that is no whole number.
   */
  constructor(options: { readonly interval?: number } = {}) {
    checkOptions("make an i8042", options, { interval: "value" });
    const { interval = DEFAULT_INTERVAL } = options;
    const most = Number.MAX_SAFE_INTEGER;
    this.#interval = checkedInteger("make an i8042 with the interval", interval, 0, most);
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    this.#keyboardLine = board.interruptLine(KEYBOARD_IRQ);
    this.#auxLine = board.interruptLine(AUX_IRQ);
    claimBytePorts(board.ports, PORT.i8042Data, 1, {
      name: this.name,
      read: () => this.#readData(),
      write: (_offset, value) => this.#writeData(value),
    });
    claimBytePorts(board.ports, PORT.i8042Command, 1, {
      name: this.name,
      read: () => this.#status,
      write: (_offset, value) => this.#execute(value),
    });
    this.#fill();
  }

  /** See {@linkcode Device.reset}. Keyboard and mouse are reset, too; what the test did with them waits still. */
  reset(): void {
    this.#state = afterReset();
    this.keyboard.reset();
    this.mouse.reset();
    this.#board!.a20 = true;
    this.#signal();
    this.#fill();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return {
      ...structuredClone(this.#state),
      a20: this.#board!.a20,
      due: this.#planned && this.#planned.deadline - this.#board!.timers.now,
      keyboard: this.keyboard.save(),
      mouse: this.mouse.save(),
    };
  }

  /** See {@linkcode Device.restore}. */
  restore(saved: unknown): void {
    const { a20, due, keyboard, mouse, ...state } = structuredClone(
      saved as State & {
        a20: boolean;
        due: number | undefined;
        keyboard: unknown;
        mouse: unknown;
      },
    );
    this.#state = state;
    this.#board!.a20 = a20;
    this.keyboard.restore(keyboard);
    this.mouse.restore(mouse);
    this.#signal();
    this.#planned?.[Symbol.dispose]();
    this.#planned = undefined;
    if (due !== undefined) this.#planAt(this.#board!.timers.now + due);
  }

  get #configuration(): number {
    return this.#state.ram[0];
  }

  #configure(set: number, clear: number): void {
    this.#state.ram[0] = this.#configuration & ~clear | set;
    this.#signal();
    this.#fill();
  }

  get #status(): number {
    const { isFull, isFromAux, lastWasCommand } = this.#state;
    return STATUS.NOT_LOCKED | (lastWasCommand ? STATUS.COMMAND : 0) |
      ((this.#configuration & CONFIGURATION.SYSTEM) === 0 ? 0 : STATUS.SYSTEM) |
      (isFull ? STATUS.OUTPUT_FULL : 0) | (isFull && isFromAux ? STATUS.AUX_OUTPUT_FULL : 0);
  }

  #readData(): number {
    const { output } = this.#state;
    this.#state.isFull = false;
    this.#signal();
    this.#fill();
    return output;
  }

  /** Plans what keyboard and mouse have to tell next. */
  #plan(): void {
    if (this.#board === undefined || this.#planned !== undefined) return;
    if (!this.keyboard.isReady && !this.mouse.isReady) return;
    this.#planAt(this.#board.timers.now + this.#interval);
  }

  #planAt(deadline: number): void {
    const timer = this.#board!.timers.at(deadline, () => {
      this.#planned = undefined;
      for (const device of [this.keyboard, this.mouse]) if (device.isReady) device.tell();
      this.#fill();
    });
    this.#planned = { deadline, [Symbol.dispose]: () => timer[Symbol.dispose]() };
  }

  /** Puts the next byte into the output buffer, where that is empty. */
  #fill(): void {
    this.#takeNext();
    this.#plan();
  }

  #takeNext(): void {
    const state = this.#state;
    if (state.isFull) return;
    const { answer } = state;
    state.answer = undefined;
    if (answer !== undefined) return this.#put(answer, false);
    const configuration = this.#configuration;
    if ((configuration & CONFIGURATION.KEYBOARD_DISABLED) === 0) {
      const byte = this.#takeFromKeyboard();
      if (byte !== undefined) return this.#put(byte, false);
    }
    if ((configuration & CONFIGURATION.AUX_DISABLED) === 0) {
      const byte = this.mouse.take();
      if (byte !== undefined) this.#put(byte, true);
    }
  }

  #takeFromKeyboard(): number | undefined {
    const state = this.#state;
    const byte = this.keyboard.take();
    if (byte === undefined || (this.#configuration & CONFIGURATION.TRANSLATE) === 0) return byte;
    if (byte === RELEASE) {
      state.isRelease = true;
      return this.#takeFromKeyboard();
    }
    const release = state.isRelease ? SET_1_RELEASE : 0;
    state.isRelease = false;
    return translated(byte) | release;
  }

  #put(byte: number, isFromAux: boolean): void {
    const state = this.#state;
    state.output = byte;
    state.isFull = true;
    state.isFromAux = isFromAux;
    this.#signal();
  }

  #signal(): void {
    const { isFull, isFromAux } = this.#state;
    const configuration = this.#configuration;
    this.#keyboardLine?.set(
      isFull && !isFromAux && (configuration & CONFIGURATION.KEYBOARD_INTERRUPT) !== 0,
    );
    this.#auxLine?.set(isFull && isFromAux && (configuration & CONFIGURATION.AUX_INTERRUPT) !== 0);
  }

  #writeData(value: number): void {
    const state = this.#state;
    const { command } = state;
    state.command = undefined;
    state.lastWasCommand = false;
    if (command === undefined) {
      // What is sent to the keyboard enables it.
      this.#configure(0, CONFIGURATION.KEYBOARD_DISABLED);
      this.keyboard.receive(value);
    } else if (command >= COMMAND.WRITE_RAM && command < COMMAND.WRITE_RAM + RAM_SIZE) {
      state.ram[command - COMMAND.WRITE_RAM] = value;
      this.#configure(0, 0);
    } else {
      this.#takeParameter(command, value);
    }
  }

  #takeParameter(command: number, value: number): void {
    switch (command) {
      case COMMAND.WRITE_OUTPUT_PORT:
        this.#board!.a20 = (value & OUTPUT_PORT.A20) !== 0;
        if ((value & OUTPUT_PORT.NO_RESET) === 0) this.#board!.init();
        break;
      case COMMAND.WRITE_KEYBOARD_OUTPUT:
        this.#put(value, false);
        break;
      case COMMAND.WRITE_AUX_OUTPUT:
        this.#put(value, true);
        break;
      case COMMAND.WRITE_AUX:
        this.#configure(0, CONFIGURATION.AUX_DISABLED);
        this.mouse.receive(value);
    }
  }

  #execute(command: number): void {
    const state = this.#state;
    state.lastWasCommand = true;
    state.command = undefined;
    if (command >= COMMAND.READ_RAM && command < COMMAND.READ_RAM + RAM_SIZE) {
      return this.#answer(state.ram[command - COMMAND.READ_RAM]);
    }
    if (command >= COMMAND.PULSE) {
      // The bits that are 0 are pulsed, of which one is wired.
      if ((command & PULSE_BITS & OUTPUT_PORT.NO_RESET) === 0) this.#board!.init();
      return;
    }
    switch (command) {
      case COMMAND.DISABLE_AUX:
        return this.#configure(CONFIGURATION.AUX_DISABLED, 0);
      case COMMAND.ENABLE_AUX:
        return this.#configure(0, CONFIGURATION.AUX_DISABLED);
      case COMMAND.DISABLE_KEYBOARD:
        return this.#configure(CONFIGURATION.KEYBOARD_DISABLED, 0);
      case COMMAND.ENABLE_KEYBOARD:
        return this.#configure(0, CONFIGURATION.KEYBOARD_DISABLED);
      case COMMAND.SELF_TEST:
        this.#configure(CONFIGURATION.SYSTEM, 0);
        return this.#answer(SELF_TEST_PASSED);
      case COMMAND.TEST_AUX:
      case COMMAND.TEST_KEYBOARD:
        return this.#answer(PORT_TEST_PASSED);
      case COMMAND.READ_INPUT_PORT:
        return this.#answer(INPUT_PORT);
      case COMMAND.READ_OUTPUT_PORT:
        return this.#answer(this.#outputPort);
      case COMMAND.DISABLE_A20:
      case COMMAND.ENABLE_A20:
        this.#board!.a20 = command === COMMAND.ENABLE_A20;
        return;
      case COMMAND.READ_TEST_INPUTS:
        return this.#answer(0);
      default:
        // Of those without a parameter there are no others: a byte at port 0x60 that follows is taken, and dropped.
        if (hasParameter(command)) state.command = command;
    }
  }

  get #outputPort(): number {
    const { isFull, isFromAux } = this.#state;
    return OUTPUT_PORT.UNUSED | OUTPUT_PORT.NO_RESET | (this.#board!.a20 ? OUTPUT_PORT.A20 : 0) |
      (isFull ? isFromAux ? OUTPUT_PORT.IRQ12 : OUTPUT_PORT.IRQ1 : 0);
  }

  #answer(byte: number): void {
    this.#state.answer = byte;
    this.#fill();
  }
}

function hasParameter(command: number): boolean {
  return command >= COMMAND.WRITE_RAM && command < COMMAND.WRITE_RAM + RAM_SIZE ||
    command >= COMMAND.WRITE_OUTPUT_PORT && command <= COMMAND.WRITE_AUX;
}
