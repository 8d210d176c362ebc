import { PciFunction } from "../pci/pci_function.ts";

/** The timing registers of both channels, with the bit that enables the channel (82371SB data sheet, 2.2.9). */
const TIMING = { PRIMARY: 0x40, SECONDARY: 0x42, ENABLE: 0x8000 } as const;

/**
 * The PCI function by which firmware and operating systems find an {@linkcode IdeDisk}: that of the PIIX3 (8086:7010), in
 * compatibility mode, where the channels have the ports and interrupts of a PC. It has no registers of its own behind
 * BARs: no bus-master DMA. Linux takes it by `ata_piix`.
 *
 * @example
 * ```ts no-eval
 * import { boot, Image } from "@vmexit/vmexit";
 * import { Disk, IdeDisk, ideFunction, PciBus } from "@vmexit/vmexit/devices";
 *
 * const disk = new Disk(Deno.readFileSync("disk.img"));
 * const devices = [new PciBus([ideFunction()]), new IdeDisk(disk)];
 * using vm = boot(Image.open("kernel.elf"), { devices });
 * ```
 */
export function ideFunction(): PciFunction {
  return new PciFunction({
    name: "PIIX3 IDE",
    vendorId: 0x8086,
    deviceId: 0x7010,
    classCode: 0x01_0100,
    registers: [
      { offset: TIMING.PRIMARY, size: 2, value: TIMING.ENABLE, writable: 0xffff },
      { offset: TIMING.SECONDARY, size: 2, writable: 0xffff },
    ],
  });
}
