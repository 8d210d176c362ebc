import { checkOptions } from "../../x86/defined_entries.ts";
import { PORT } from "../../x86/layout.ts";
import type { Device, DeviceBoard } from "../device.ts";
import type { Timers } from "../timers.ts";
import { PM_TIMER } from "./pm_registers.ts";

const NANOSECONDS = 1e9;
const BYTE_BITS = 8;

/**
 * The ACPI power management timer: it counts 3.579545 MHz, and wraps.
 *
 * ACPI specification 6.5, 4.8.2.1 ("Power Management Timer") and 4.8.3.3. It counts by the board's time, from 0 at
 * power-on and after a reset. Left out: its interrupt (TMR_STS).
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { AcpiPmTimer, TestClock } from "@vmexit/vmexit/devices";
 *
 * const clock = new TestClock();
 * using vm = boot(asm`
 *   mov dx, 0x608
 *   in  eax, dx
 *   hlt
 * `, { clock, devices: [new AcpiPmTimer()] });
 * clock.advance(1_000_000_000);
 * vm.run();
 * console.log(vm.registers.eax); // 3579548: a second, and the exit's microsecond
 * ```
 */
export class AcpiPmTimer implements Device {
  /** The name in tables of exits. */
  readonly name = "ACPI PM timer";
  readonly #port: number;
  readonly #wraps: number;
  #timers!: Timers;
  #start = 0;

  /**
   * A timer.
   *
   * @param options `port`: the first of its four ports, default 0x608. `bits`: 24, the default, or 32, as the flag
   *   TMR_VAL_EXT of the FADT says.
   * @throws {RangeError} When it is to have another number of bits.
   */
  constructor(options: { readonly port?: number; readonly bits?: 24 | 32 } = {}) {
    checkOptions("make an ACPI timer", options, { port: "value", bits: "value" });
    const { port = PORT.acpiPm + PM_TIMER.OFFSET, bits = 24 } = options;
    if (bits !== 24 && bits !== 32) {
      throw new RangeError(`Cannot make a timer of ${bits} bits: ACPI has those of 24 and of 32`);
    }
    this.#port = port;
    this.#wraps = 2 ** bits;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#timers = board.timers;
    this.#start = board.timers.now;
    board.ports.on([this.#port, this.#port + PM_TIMER.SIZE - 1], {
      name: this.name,
      read: (port, size) =>
        Math.floor(this.#count / 2 ** (BYTE_BITS * (port - this.#port))) % 2 ** (BYTE_BITS * size),
      write() {},
    });
  }

  get #count(): number {
    const passed = this.#timers.now - this.#start;
    return Math.floor(passed * PM_TIMER.FREQUENCY / NANOSECONDS) % this.#wraps;
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#start = this.#timers.now;
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return this.#timers.now - this.#start;
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    this.#start = this.#timers.now - (state as number);
  }
}
