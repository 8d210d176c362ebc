import { checkOptions } from "../x86/defined_entries.ts";
import { PORT } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard } from "./device.ts";

/** Bits of system control port A (IBM PS/2 Technical Reference, "System Control Port A"). */
const BIT = { RESET: 0x01, A20: 0x02 } as const;

/**
 * System control port A (0x92) of a PC: the fast A20 gate, and the reset of the CPUs by INIT#. The gate is that of the board: an 8042 opens and
 * closes the same.
 *
 * IBM PS/2 Technical Reference, "System Control Port A". The rest of its bits hold what is written. Left out: the
 * security lock and the fixed disk's light.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { SystemControlPort } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   in  al, 0x92
 *   hlt
 * `, { devices: [new SystemControlPort({ a20: false })] });
 * vm.run();
 * console.log(vm.registers.al); // 0
 * ```
 */
export class SystemControlPort implements Device {
  /** The name in tables of exits. */
  readonly name = "system control port";
  readonly #a20: boolean;
  #board!: DeviceBoard;
  #value = 0;

  /**
   * A port of a machine that is on.
   *
   * @param options `a20`: whether the A20 gate is open when the guest starts. Default true, as after reset; many a BIOS
   *   leaves it closed.
   */
  constructor(options: { readonly a20?: boolean } = {}) {
    checkOptions("make a system control port", options, { a20: "flag" });
    this.#a20 = options.a20 ?? true;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    if (!this.#a20) board.a20 = false;
    claimBytePorts(board.ports, PORT.systemControl, 1, {
      name: this.name,
      read: () => this.#value & ~BIT.A20 | (board.a20 ? BIT.A20 : 0),
      write: (_offset, value) => {
        const isReset = (value & ~this.#value & BIT.RESET) !== 0;
        this.#value = value;
        board.a20 = (value & BIT.A20) !== 0;
        if (isReset) board.init();
      },
    });
  }

  /** See {@linkcode Device.reset}. The gate is open then. */
  reset(): void {
    this.#value = 0;
    this.#board.a20 = true;
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { value: this.#value, a20: this.#board.a20 };
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { value, a20 } = state as { value: number; a20: boolean };
    this.#value = value;
    this.#board.a20 = a20;
  }
}
