import { PORT } from "../x86/layout.ts";
import { claimBytePorts } from "./byte_ports.ts";
import type { Device, DeviceBoard } from "./device.ts";
import { DEFAULT_CAPACITY, KeptOutput } from "./kept_output.ts";

/**
 * The diagnostic port of a PC (0x80), to which firmware writes how far its power-on self-test (POST) has come: the codes
 * are recorded, up to 1 MiB of them. It reads what was written last, as the page register that is there on a PC.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { PostCodes } from "@vmexit/vmexit/devices";
 *
 * const post = new PostCodes();
 * using vm = boot(asm`
 *   mov al, 0x12
 *   out 0x80, al
 *   hlt
 * `, { devices: [post] });
 * vm.run();
 * console.log(post.codes); // [ 18 ]
 * ```
 */
export class PostCodes implements Device {
  /** The name in tables of exits. */
  readonly name = "POST codes";
  readonly #port: number;
  readonly #codes = new KeptOutput(DEFAULT_CAPACITY);
  #latest = 0;

  /**
   * A port to which nothing was written.
   *
   * @param port Default 0x80. Others that boards have had are 0x84, 0x300 and 0x680.
   */
  constructor(port: number = PORT.postCode) {
    this.#port = port;
  }

  /** The codes, in the order in which they came. */
  get codes(): number[] {
    return [...this.#codes.bytes];
  }

  /** The latest code; 0 before the first. */
  get latest(): number {
    return this.#latest;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    claimBytePorts(board.ports, this.#port, 1, {
      name: this.name,
      read: () => this.#latest,
      write: (_offset, value) => {
        this.#latest = value;
        this.#codes.add(value);
      },
    });
  }

  /** See {@linkcode Device.reset}. What was recorded stays. */
  reset(): void {
    this.#latest = 0;
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { latest: this.#latest, codes: this.#codes.save() };
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { latest, codes } = state as { latest: number; codes: ReturnType<KeptOutput["save"]> };
    this.#latest = latest;
    this.#codes.restore(codes);
  }
}
