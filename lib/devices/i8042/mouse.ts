import { checkedInteger } from "../checked.ts";
import {
  ACKNOWLEDGE,
  BUFFER_SIZE,
  type Ps2Device,
  RESEND,
  SELF_TEST_PASSED,
} from "./ps2_device.ts";

/** Commands of a mouse (IBM PS/2 Technical Reference, "Auxiliary Device", "Commands"). */
const COMMAND = {
  SCALING_1_1: 0xe6,
  SCALING_2_1: 0xe7,
  RESOLUTION: 0xe8,
  STATUS: 0xe9,
  STREAM_MODE: 0xea,
  READ_DATA: 0xeb,
  LEAVE_WRAP_MODE: 0xec,
  REMOTE_MODE: 0xf0,
  IDENTIFY: 0xf2,
  SAMPLE_RATE: 0xf3,
  ENABLE: 0xf4,
  DISABLE: 0xf5,
  SET_DEFAULTS: 0xf6,
  RESET: 0xff,
} as const;

/** A mouse of three bytes a packet, without a wheel. */
const IDENTIFICATION = 0x00;

const BUTTON: Readonly<Record<MouseButton, number>> = { left: 0x01, right: 0x02, middle: 0x04 };

/** The first byte of a packet. */
const PACKET = { ALWAYS_ONE: 0x08, X_SIGN: 0x10, Y_SIGN: 0x20 } as const;

const STATUS = { SCALING: 0x10, ENABLED: 0x20, REMOTE: 0x40 } as const;

/** The farthest that a packet tells of, in each direction. */
const FARTHEST = 255;

/** Its packets are kept until the guest takes them. */
const MOST_COUNTS = 1_000_000;

const DEFAULT_RESOLUTION = 2;
const DEFAULT_RATE = 100;

/** A button of a mouse. */
export type MouseButton = "left" | "right" | "middle";

interface State {
  queue: number[];
  /** Packets that are still to be sent. */
  packets: number[][];
  buttons: number;
  command: number | undefined;
  isEnabled: boolean;
  isRemote: boolean;
  isScaled: boolean;
  resolution: number;
  rate: number;
}

function afterReset(): State {
  return {
    queue: [],
    packets: [],
    buttons: 0,
    command: undefined,
    isEnabled: false,
    isRemote: false,
    isScaled: false,
    resolution: DEFAULT_RESOLUTION,
    rate: DEFAULT_RATE,
  };
}

/**
 * A mouse with three buttons. What the test does with it waits until the guest has enabled it, and has taken what was
 * before. Left out:
 * wrap mode, and what scaling, resolution and rate do to its packets.
 */
export class Mouse implements Ps2Device {
  readonly #changed: () => void;
  #state = afterReset();

  /**
   * A mouse that lies still.
   *
   * @param changed Called when it has something to send.
   */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /**
   * Moves it, by its own counts: to the right and up are positive.
   *
   * @throws {RangeError} When it is no whole number of counts, or more than a million.
   */
  move(x: number, y: number): void {
    let [restX, restY] = [x, y].map((counts) =>
      checkedInteger("move a mouse by", counts, -MOST_COUNTS, MOST_COUNTS)
    );
    do {
      const [stepX, stepY] = [restX, restY].map((rest) =>
        Math.max(-FARTHEST, Math.min(FARTHEST, rest))
      );
      this.#report(stepX, stepY);
      restX -= stepX;
      restY -= stepY;
    } while (restX !== 0 || restY !== 0);
  }

  /**
   * Presses a button, and holds it.
   *
   * @throws {RangeError} When there is no such button.
   */
  press(button: MouseButton): void {
    this.#state.buttons |= bitOf(button);
    this.#report(0, 0);
  }

  /**
   * Releases a button.
   *
   * @throws {RangeError} When there is no such button.
   */
  release(button: MouseButton): void {
    this.#state.buttons &= ~bitOf(button);
    this.#report(0, 0);
  }

  /** How many packets the guest has not taken yet. */
  get waiting(): number {
    return this.#state.packets.length;
  }

  /** See {@linkcode Ps2Device.take}. */
  take(): number | undefined {
    return this.#state.queue.shift();
  }

  /** See {@linkcode Ps2Device.isReady}. */
  get isReady(): boolean {
    const { queue, packets, isEnabled, isRemote } = this.#state;
    return isEnabled && !isRemote && packets.length > 0 && queue.length === 0;
  }

  /** See {@linkcode Ps2Device.tell}. */
  tell(): void {
    const { queue, packets } = this.#state;
    queue.push(...packets.shift() ?? []);
  }

  /** See {@linkcode Ps2Device.receive}. */
  receive(byte: number): void {
    const state = this.#state;
    const { command } = state;
    state.command = undefined;
    if (command === COMMAND.RESOLUTION) state.resolution = byte;
    if (command === COMMAND.SAMPLE_RATE) state.rate = byte;
    if (command === undefined) this.#execute(byte);
    else this.#answer(ACKNOWLEDGE);
    this.#changed();
  }

  #execute(command: number): void {
    const state = this.#state;
    switch (command) {
      case COMMAND.RESOLUTION:
      case COMMAND.SAMPLE_RATE:
        state.command = command;
        break;
      case COMMAND.SCALING_1_1:
      case COMMAND.SCALING_2_1:
        state.isScaled = command === COMMAND.SCALING_2_1;
        break;
      case COMMAND.STREAM_MODE:
      case COMMAND.REMOTE_MODE:
        state.isRemote = command === COMMAND.REMOTE_MODE;
        break;
      case COMMAND.ENABLE:
      case COMMAND.DISABLE:
        state.isEnabled = command === COMMAND.ENABLE;
        break;
      case COMMAND.LEAVE_WRAP_MODE:
        break;
      case COMMAND.STATUS: {
        const { buttons, isScaled, isEnabled, isRemote, resolution, rate } = state;
        const flags = buttons | (isScaled ? STATUS.SCALING : 0) | (isEnabled ? STATUS.ENABLED : 0) |
          (isRemote ? STATUS.REMOTE : 0);
        this.#answer(ACKNOWLEDGE, flags, resolution, rate);
        return;
      }
      case COMMAND.READ_DATA:
        this.#answer(ACKNOWLEDGE, ...state.packets.shift() ?? packet(0, 0, state.buttons));
        return;
      case COMMAND.IDENTIFY:
        this.#answer(ACKNOWLEDGE, IDENTIFICATION);
        return;
      case COMMAND.SET_DEFAULTS:
        this.reset();
        break;
      case COMMAND.RESET:
        this.reset();
        this.#answer(ACKNOWLEDGE, SELF_TEST_PASSED, IDENTIFICATION);
        return;
      default:
        this.#answer(RESEND);
        return;
    }
    this.#answer(ACKNOWLEDGE);
  }

  #answer(...bytes: number[]): void {
    const { queue } = this.#state;
    if (queue.length + bytes.length <= BUFFER_SIZE) queue.push(...bytes);
  }

  #report(x: number, y: number): void {
    this.#state.packets.push(packet(x, y, this.#state.buttons));
    this.#changed();
  }

  /** See {@linkcode Ps2Device.reset}. What the test does with it stays. */
  reset(): void {
    const { packets, buttons } = this.#state;
    this.#state = { ...afterReset(), packets, buttons };
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

function bitOf(button: MouseButton): number {
  if (Object.hasOwn(BUTTON, button)) return BUTTON[button];
  throw new RangeError(
    `Cannot press ${button}: a mouse has the buttons ${Object.keys(BUTTON).join(", ")}`,
  );
}

function packet(x: number, y: number, buttons: number): number[] {
  const signs = (x < 0 ? PACKET.X_SIGN : 0) | (y < 0 ? PACKET.Y_SIGN : 0);
  return [buttons | PACKET.ALWAYS_ONE | signs, x & 0xff, y & 0xff];
}
