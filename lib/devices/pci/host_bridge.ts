import { PciFunction } from "./pci_function.ts";

/** Registers of the 82441FX's that firmware writes (Intel 82441FX data sheet, 3.2.18 and 3.2.20). */
const PAM = { FIRST: 0x59, COUNT: 7, WRITABLE: 0x33 } as const;
const SMRAM = { OFFSET: 0x72, AFTER_RESET: 0x02, WRITABLE: 0x7f } as const;

/**
 * A host bridge that firmware knows: the ID of the 82441FX (i440FX). Its PAM and SMRAM registers keep what is written to
 * them, and shadow nothing.
 */
export function hostBridge(): PciFunction {
  return new PciFunction({
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
