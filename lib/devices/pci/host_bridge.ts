import type { DeviceBoard, ShadowAccess } from "../device.ts";
import { PciFunction, type PciHost } from "./pci_function.ts";

/** The programmable attribute map: a register, and two of its bits for each segment (Intel 82441FX data sheet, 3.2.18). */
const PAM = {
  FIRST: 0x59,
  COUNT: 7,
  WRITABLE: 0x33,
  READ: 0x1,
  WRITE: 0x2,
  UPPER_SHIFT: 4,
} as const;
/** What the upper half of the first register is for, behind the segments of the others: 0xf0000–0xfffff. */
const BIOS_SEGMENTS = 4;
/** System management RAM control (3.2.20). */
const SMRAM = { OFFSET: 0x72, AFTER_RESET: 0x02, WRITABLE: 0x7f } as const;

/** The 82441FX, by what firmware wants of it. */
class HostBridge extends PciFunction {
  #board: DeviceBoard | undefined;

  constructor() {
    super({
      name: "i440FX",
      vendorId: 0x8086,
      deviceId: 0x1237,
      classCode: 0x06_0000,
      revisionId: 0x02,
      registers: [
        ...Array.from({ length: PAM.COUNT }, (_, index) => ({
          offset: PAM.FIRST + index,
          size: 1 as const,
          writable: index === 0 ? PAM.WRITABLE & 0xf0 : PAM.WRITABLE,
        })),
        {
          offset: SMRAM.OFFSET,
          size: 1,
          value: SMRAM.AFTER_RESET,
          writable: SMRAM.WRITABLE,
        },
      ],
    });
  }

  override attach(host: PciHost): void {
    super.attach(host);
    this.#board = host.board;
  }

  override writeConfig(offset: number, value: number, size: number): void {
    super.writeConfig(offset, value, size);
    if (offset < PAM.FIRST + PAM.COUNT && offset + size > PAM.FIRST) this.#shadow();
  }

  override reset(): void {
    super.reset();
    this.#shadow();
  }

  override restore(state: unknown): void {
    super.restore(state);
    this.#shadow();
  }

  /** Shows the RAM that the map says. */
  #shadow(): void {
    const access = (bits: number): ShadowAccess => ({
      read: (bits & PAM.READ) !== 0,
      write: (bits & PAM.WRITE) !== 0,
    });
    const [bios, ...others] = Array.from(
      { length: PAM.COUNT },
      (_, index) => this.config.get(PAM.FIRST + index, 1),
    );
    this.#board?.shadow([
      ...others.flatMap((value) => [access(value), access(value >> PAM.UPPER_SHIFT)]),
      ...Array.from({ length: BIOS_SEGMENTS }, () => access(bios >> PAM.UPPER_SHIFT)),
    ]);
  }
}

/**
 * A host bridge that firmware knows: the ID of the 82441FX (i440FX), with its PAM registers, by which RAM shows in place
 * of ROM at 0xc0000–0xfffff (Intel 82441FX data sheet, 3.2.18). Left out: SMRAM, whose register keeps what is written.
 */
export function hostBridge(): PciFunction {
  return new HostBridge();
}
