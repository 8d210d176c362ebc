import { PORT } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard } from "./device.ts";
import { DEFAULT_CAPACITY, KeptOutput } from "./kept_output.ts";

/** What a guest reads that looks for the console. */
const PRESENT = 0xe9;

/**
 * The debug console of Bochs and QEMU: a port that takes text (Bochs, "port 0xe9 hack"; QEMU, `isa-debugcon`), and reads
 * 0xe9, by which a guest finds it. SeaBIOS and OVMF write to 0x402.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { DebugConsole } from "@vmexit/vmexit/devices";
 *
 * const console9 = new DebugConsole();
 * using vm = boot(asm`
 *   mov al, '!'
 *   out 0xe9, al
 *   hlt
 * `, { devices: [console9] });
 * vm.run();
 * console.log(console9.text); // !
 * ```
 */
export class DebugConsole implements Device {
  /** The name in tables of exits. */
  readonly name = "debug console";
  readonly #port: number;
  readonly #output: KeptOutput;

  /**
   * A console without text.
   *
   * @param port Default 0xe9.
   * @param capacity How many bytes are kept. Default 1 MiB.
   */
  constructor(port: number = PORT.debugConsole, capacity: number = DEFAULT_CAPACITY) {
    this.#port = port;
    this.#output = new KeptOutput(capacity);
  }

  /** The bytes that the guest has written. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#output.bytes;
  }

  /** The bytes that the guest has sent after the first `start`: what is new since they were looked at last. */
  bytesFrom(start: number): Uint8Array<ArrayBuffer> {
    return this.#output.from(start);
  }

  /** The bytes that the guest has written, as UTF-8. */
  get text(): string {
    return this.#output.text;
  }

  /** How many bytes came after the first `capacity`, and are lost. */
  get dropped(): number {
    return this.#output.dropped;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    claimBytePorts(board.ports, this.#port, 1, {
      name: this.name,
      read: () => PRESENT,
      write: (_offset, value) => this.#output.add(value),
    });
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return this.#output.save();
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    this.#output.restore(state as ReturnType<KeptOutput["save"]>);
  }
}
