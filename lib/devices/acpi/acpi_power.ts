import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { PORT } from "../../x86/layout.ts";
import { claimBytePorts } from "../byte_ports.ts";
import { checkedInteger } from "../checked.ts";
import type { Device, DeviceBoard, InterruptLine } from "../device.ts";
import { PM_REGISTER, PM_SIZE, SCI_IRQ } from "./pm_registers.ts";

/** Bits of the status and the enable register (ACPI specification 6.5, tables 4.12 and 4.13). */
const EVENT = { POWER_BUTTON: 0x0100 } as const;

/** What can be enabled: timer, global lock, power button, sleep button, clock. */
const ENABLES = 0x0721;

/** Bits of the control register (table 4.14). */
const CONTROL = {
  SCI_ENABLE: 0x0001,
  BUS_MASTER_RELOAD: 0x0002,
  SLEEP_TYPE: 0x1c00,
  SLEEP_TYPE_SHIFT: 10,
  SLEEP_ENABLE: 0x2000,
} as const;

const LAST_SLEEP_TYPE = 7;
const BYTE_BITS = 8;

/** What an {@linkcode AcpiPower} is told. */
export interface AcpiPowerOptions {
  /** The first of its six ports: PM1a_EVT_BLK, and PM1a_CNT_BLK behind it. Default 0x600. */
  readonly base?: number;
  /** The sleep type that turns the power off: what `\_S5` of the tables says. Default 0, as QEMU's machines have it. */
  readonly s5?: number;
  /** The line of its interrupt, the SCI. Default 9. */
  readonly sci?: number;
}

const OPTIONS: NamesOf<AcpiPowerOptions> = { base: "value", s5: "value", sci: "value" };

interface State {
  status: number;
  enable: number;
  control: number;
}

/**
 * The power management registers of ACPI: the guest turns the machine off by writing the sleep type of S5 with SLP_EN
 * (`out 0x604, 0x2000` by default), and hears of the power button by an SCI.
 *
 * ACPI specification 6.5, 4.8.3 ("PM1 Event Grouping", "PM1 Control Grouping"). The machine is in ACPI mode from the
 * start (SCI_EN; the FADT has no SMI_CMD). Left out: other sleep states (their SLP_EN does nothing), the PM1b blocks,
 * general-purpose events.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, portOut, powerOff } from "@vmexit/vmexit";
 * import { AcpiPower } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov dx, 0x604
 *   mov ax, 0x2000
 *   out dx, ax
 *   hlt
 * `, { devices: [new AcpiPower()] });
 * expect(vm).toExit([portOut(0x604, 0x2000, 2), powerOff()]);
 * ```
 */
export class AcpiPower implements Device {
  /** The name in tables of exits. */
  readonly name = "ACPI power";
  readonly #base: number;
  readonly #s5: number;
  readonly #sci: number;
  #board!: DeviceBoard;
  #line: InterruptLine | undefined;
  #state: State = { status: 0, enable: 0, control: CONTROL.SCI_ENABLE };

  /**
   * The registers of a machine that is on.
   *
   * @throws {RangeError} When the sleep type is none from 0 to 7.
   */
  constructor(options: AcpiPowerOptions = {}) {
    checkOptions("make ACPI's power management", options, OPTIONS);
    const { base = PORT.acpiPm, s5 = 0, sci = SCI_IRQ } = options;
    this.#base = base;
    this.#s5 = checkedInteger("turn the power off by the sleep type", s5, 0, LAST_SLEEP_TYPE);
    this.#sci = sci;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    this.#line = board.interruptLine(this.#sci);
    claimBytePorts(board.ports, this.#base, PM_SIZE.EVENT + PM_SIZE.CONTROL, {
      name: this.name,
      read: (offset) => this.#register(offset & ~1) >> BYTE_BITS * (offset & 1) & 0xff,
      write: (offset, value) => this.#write(offset, value),
    });
    this.#signal();
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#state = { status: 0, enable: 0, control: CONTROL.SCI_ENABLE };
    this.#signal();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { ...this.#state };
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    this.#state = { ...state as State };
    this.#signal();
  }

  /** Presses the power button: the guest is told, and does with it what it likes. */
  pressPowerButton(): void {
    this.#state.status |= EVENT.POWER_BUTTON;
    this.#signal();
  }

  #register(offset: number): number {
    const { status, enable, control } = this.#state;
    return offset === PM_REGISTER.STATUS
      ? status
      : offset === PM_REGISTER.ENABLE
      ? enable
      : control;
  }

  #write(offset: number, value: number): void {
    const state = this.#state;
    const isHigh = (offset & 1) !== 0;
    const bits = isHigh ? value << BYTE_BITS : value;
    const kept = isHigh ? 0x00ff : 0xff00;
    switch (offset & ~1) {
      case PM_REGISTER.STATUS:
        // Bits are cleared by writing ones.
        state.status &= ~bits;
        break;
      case PM_REGISTER.ENABLE:
        state.enable = (state.enable & kept | bits) & ENABLES;
        break;
      default:
        this.#control(state.control & kept | bits);
    }
    this.#signal();
  }

  #control(value: number): void {
    const { SCI_ENABLE, BUS_MASTER_RELOAD, SLEEP_TYPE, SLEEP_TYPE_SHIFT, SLEEP_ENABLE } = CONTROL;
    // SLP_EN and GBL_RLS read as 0, and SCI_EN is the hardware's.
    this.#state.control = value & (BUS_MASTER_RELOAD | SLEEP_TYPE) | SCI_ENABLE;
    const type = (value & SLEEP_TYPE) >> SLEEP_TYPE_SHIFT;
    if ((value & SLEEP_ENABLE) !== 0 && type === this.#s5) this.#board.powerOff();
  }

  #signal(): void {
    const { status, enable } = this.#state;
    this.#line?.set((status & enable) !== 0);
  }
}
