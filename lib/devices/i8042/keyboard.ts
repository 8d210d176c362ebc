import { inSet1, isKey, type KeyCode, keyOf, scanCodes } from "./scan_codes.ts";
import {
  ACKNOWLEDGE,
  BUFFER_SIZE,
  type Ps2Device,
  RESEND,
  SELF_TEST_PASSED,
} from "./ps2_device.ts";

/** Commands of a keyboard (IBM PS/2 Technical Reference, "Keyboard", "Commands from the System"). */
const COMMAND = {
  SET_LEDS: 0xed,
  ECHO: 0xee,
  SCAN_CODE_SET: 0xf0,
  IDENTIFY: 0xf2,
  SET_RATE: 0xf3,
  ENABLE: 0xf4,
  DISABLE: 0xf5,
  SET_DEFAULTS: 0xf6,
  RESEND: 0xfe,
  RESET: 0xff,
} as const;

const IDENTIFICATION = [0xab, 0x83];

const LED = { SCROLL: 1, NUM: 2, CAPS: 4 } as const;

/** The parameter of the command for the scan code set that asks which it is. */
const WHICH_SET = 0;

interface KeyEvent {
  readonly key: KeyCode;
  readonly pressed: boolean;
}

interface State {
  /** Bytes on their way: answers, and the rest of a key's. */
  queue: number[];
  /** Keys whose bytes are still to be sent. */
  events: KeyEvent[];
  /** The command whose parameter is to come. */
  command: number | undefined;
  scanCodeSet: number;
  isScanning: boolean;
  leds: number;
  /** What was sent last, for the command that asks for it again. */
  last: number;
}

function afterReset(): State {
  return {
    queue: [],
    events: [],
    command: undefined,
    scanCodeSet: 2,
    isScanning: true,
    leds: 0,
    last: 0,
  };
}

/**
 * The keyboard of a PC, with US layout and scan code sets 1 and 2. What is typed waits: a key is pressed or released when
 * the guest has taken what was before, and scanning is on.
 */
export class Keyboard implements Ps2Device {
  readonly #changed: () => void;
  #state = afterReset();

  /**
   * A keyboard on which nobody has typed.
   *
   * @param changed Called when it has something to send.
   */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /**
   * Types a text: each key is pressed and released, with shift where it is needed. `\n` is Enter, `\b` Backspace,
   * `\x1b` Escape.
   *
   * @throws {RangeError} When there is no key for a character; then nothing is typed.
   */
  type(text: string): void {
    const events = [...text].flatMap((character) => {
      const found = keyOf(character);
      if (found === undefined) {
        throw new RangeError(
          `Cannot type ${
            JSON.stringify(character)
          }: a US keyboard has no key for it. Give press() the keys that make it.`,
        );
      }
      const { key, shift } = found;
      const stroke = [{ key, pressed: true }, { key, pressed: false }];
      if (!shift) return stroke;
      const shiftKey = "ShiftLeft";
      return [{ key: shiftKey, pressed: true }, ...stroke, {
        key: shiftKey,
        pressed: false,
      }] as const;
    });
    this.#state.events.push(...events);
    this.#changed();
  }

  /**
   * Presses a key, and holds it: there is no repetition.
   *
   * @throws {RangeError} When there is no such key.
   */
  press(key: KeyCode): void {
    this.#add(key, true);
  }

  /**
   * Releases a key.
   *
   * @throws {RangeError} When there is no such key.
   */
  release(key: KeyCode): void {
    this.#add(key, false);
  }

  #add(key: KeyCode, pressed: boolean): void {
    if (!isKey(key)) {
      throw new RangeError(
        `Cannot press ${key}: there is no such key. Keys are named as browsers do: "KeyA", "Digit1", "Enter", "ArrowUp".`,
      );
    }
    this.#state.events.push({ key, pressed });
    this.#changed();
  }

  /** Which lights are on. */
  get leds(): {
    readonly scrollLock: boolean;
    readonly numLock: boolean;
    readonly capsLock: boolean;
  } {
    const { leds } = this.#state;
    return {
      scrollLock: (leds & LED.SCROLL) !== 0,
      numLock: (leds & LED.NUM) !== 0,
      capsLock: (leds & LED.CAPS) !== 0,
    };
  }

  /** How many presses and releases the guest has not taken yet. */
  get waiting(): number {
    return this.#state.events.length;
  }

  /** See {@linkcode Ps2Device.take}. */
  take(): number | undefined {
    const byte = this.#state.queue.shift();
    if (byte !== undefined) this.#state.last = byte;
    return byte;
  }

  /** See {@linkcode Ps2Device.isReady}. */
  get isReady(): boolean {
    const { isScanning, events, queue } = this.#state;
    return isScanning && events.length > 0 && queue.length === 0;
  }

  /** See {@linkcode Ps2Device.tell}. */
  tell(): void {
    const { events, queue, scanCodeSet } = this.#state;
    const event = events.shift();
    if (event === undefined) return;
    const codes = scanCodes(event.key, event.pressed);
    queue.push(...scanCodeSet === 1 ? inSet1(codes) : codes);
  }

  /** See {@linkcode Ps2Device.receive}. */
  receive(byte: number): void {
    const { command } = this.#state;
    this.#state.command = undefined;
    if (command === undefined) this.#execute(byte);
    else this.#takeParameter(command, byte);
    this.#changed();
  }

  #execute(command: number): void {
    const state = this.#state;
    switch (command) {
      case COMMAND.SET_LEDS:
      case COMMAND.SCAN_CODE_SET:
      case COMMAND.SET_RATE:
        state.command = command;
        this.#answer(ACKNOWLEDGE);
        break;
      case COMMAND.ECHO:
        this.#answer(COMMAND.ECHO);
        break;
      case COMMAND.IDENTIFY:
        this.#answer(ACKNOWLEDGE, ...IDENTIFICATION);
        break;
      case COMMAND.ENABLE:
      case COMMAND.DISABLE:
      case COMMAND.SET_DEFAULTS:
        if (command !== COMMAND.ENABLE) state.scanCodeSet = 2;
        state.isScanning = command !== COMMAND.DISABLE;
        this.#answer(ACKNOWLEDGE);
        break;
      case COMMAND.RESEND:
        this.#answer(state.last);
        break;
      case COMMAND.RESET:
        this.reset();
        this.#answer(ACKNOWLEDGE, SELF_TEST_PASSED);
        break;
      default:
        this.#answer(RESEND);
    }
  }

  #takeParameter(command: number, byte: number): void {
    const state = this.#state;
    if (command === COMMAND.SET_LEDS) state.leds = byte & (LED.SCROLL | LED.NUM | LED.CAPS);
    if (command === COMMAND.SCAN_CODE_SET) {
      if (byte > 2) return this.#answer(RESEND);
      if (byte === WHICH_SET) return this.#answer(ACKNOWLEDGE, state.scanCodeSet);
      state.scanCodeSet = byte;
    }
    this.#answer(ACKNOWLEDGE);
  }

  #answer(...bytes: number[]): void {
    const { queue } = this.#state;
    if (queue.length + bytes.length <= BUFFER_SIZE) queue.push(...bytes);
  }

  /** See {@linkcode Ps2Device.reset}. What is typed stays. */
  reset(): void {
    this.#state = { ...afterReset(), events: this.#state.events };
  }

  /** See {@linkcode Ps2Device.save}. */
  save(): unknown {
    return structuredClone(this.#state);
  }

  /** See {@linkcode Ps2Device.restore}. */
  restore(state: unknown): void {
    this.#state = structuredClone(state as State);
  }
}
