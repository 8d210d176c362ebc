import { PORT } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard } from "./device.ts";

/** Bits of the reset control register (82371AB, "RC: Reset Control Register"; Intel ICH10, 13.7.5). */
const BIT = { SYSTEM_RESET: 0x02, RESET_CPU: 0x04, FULL_RESET: 0x08 } as const;

/**
 * The reset control register (0xcf9) of PCI chipsets: a write that sets bit 2, where it was clear, resets the machine
 * where bit 1 is set (hard), and the CPUs alone, by INIT#, where it is not (soft).
 *
 * Intel ICH10 data sheet, 13.7.5. Full resets (bit 3) are hard ones here. The register has one
 * byte: a dword at 0xcf8 is the PCI host bridge's.
 */
export class ResetControl implements Device {
  /** The name in tables of exits. */
  readonly name = "reset control";
  #value = 0;

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    claimBytePorts(board.ports, PORT.resetControl, 1, {
      name: this.name,
      read: () => this.#value,
      write: (_offset, value) => {
        const isReset = (value & ~this.#value & BIT.RESET_CPU) !== 0;
        this.#value = value & (BIT.SYSTEM_RESET | BIT.RESET_CPU | BIT.FULL_RESET);
        if (!isReset) return;
        if ((value & BIT.SYSTEM_RESET) !== 0) board.reset();
        else board.init();
      },
    });
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#value = 0;
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return this.#value;
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    this.#value = state as number;
  }
}
