import type { ConfigRegister } from "./config_space.ts";
import { PciFunction, type PciHost } from "./pci_function.ts";
import { PIRQS, ROUTABLE_IRQS } from "./pirqs.ts";

const INTEL = 0x8086;

/** PIRQRC[A:D] (82371SB data sheet, 2.2.10; 82371AB, 4.1.10): bit 7, routing is off; the low bits, to which IRQ. */
const PIRQ_ROUTE = { FIRST: 0x60, OFF: 0x80, IRQ: 0x0f, WRITABLE: 0x8f } as const;

/** Registers of the ISA bridge (82371AB data sheet, 4.1.10 and 4.1.16). */
const ISA_REGISTERS: readonly ConfigRegister[] = [
  ...PIRQS.map((_irq, pirq) => ({
    offset: PIRQ_ROUTE.FIRST + pirq,
    size: 1 as const,
    value: PIRQ_ROUTE.OFF,
    writable: PIRQ_ROUTE.WRITABLE,
  })),
  // Top of memory: ISA masters reach 640 KiB, and from 1 MiB on.
  { offset: 0x69, size: 1, value: 0x02, writable: 0xfe },
];

/** PIIX3, the ISA bridge: it leads the PIRQs of its bus to where firmware says. */
export class IsaBridge extends PciFunction {
  #host: PciHost | undefined;

  /** One that leads no PIRQ anywhere. */
  constructor() {
    super({
      name: "PIIX3",
      vendorId: INTEL,
      deviceId: 0x7000,
      classCode: 0x06_0100,
      registers: ISA_REGISTERS,
    });
  }

  /** Routes PIRQs as firmware does. */
  route(irqs: readonly number[]): void {
    irqs.forEach((irq, pirq) => this.writeConfig(PIRQ_ROUTE.FIRST + pirq, irq, 1));
  }

  /** See {@linkcode PciFunction.attach}. */
  override attach(host: PciHost): void {
    super.attach(host);
    this.#host = host;
    this.#routeAll();
  }

  /** See {@linkcode PciFunction.writeConfig}. */
  override writeConfig(offset: number, value: number, size: number): void {
    super.writeConfig(offset, value, size);
    const { FIRST } = PIRQ_ROUTE;
    if (offset < FIRST + PIRQS.length && offset + size > FIRST) this.#routeAll();
  }

  /** See {@linkcode PciFunction.reset}. */
  override reset(): void {
    super.reset();
    this.#routeAll();
  }

  /** See {@linkcode PciFunction.restore}. */
  override restore(state: unknown): void {
    super.restore(state);
    this.#routeAll();
  }

  #routeAll(): void {
    this.#host?.routePirqs(PIRQS.map((_irq, pirq) => {
      const value = this.config.get(PIRQ_ROUTE.FIRST + pirq, 1);
      const irq = value & PIRQ_ROUTE.IRQ;
      return (value & PIRQ_ROUTE.OFF) === 0 && ROUTABLE_IRQS.includes(irq) ? irq : undefined;
    }));
  }
}

/** The bit of IDETIM by which the channel's ports are decoded. */
const IDE_ENABLE = 0x8000;

/**
 * Registers of the IDE function (5.1.13): IDETIM of the primary and of the secondary channel. The primary one is enabled,
 * as firmware leaves it: for kernels that are booted without, since the disk answers anyway.
 */
const IDE_REGISTERS: readonly ConfigRegister[] = [
  { offset: 0x40, size: 2, value: IDE_ENABLE, writable: 0xffff },
  { offset: 0x42, size: 2, writable: 0xffff },
];

/** APMC_EN of DEVACTB: the SMI by port 0xb2 is on, which firmware takes for "SMM is set up". */
const APMC_ENABLE = 1 << 25;

/** Registers of the power management function (7.1). */
const POWER_REGISTERS: readonly ConfigRegister[] = [
  // PMBA: where its registers are; a base address of I/O, of 64 ports.
  { offset: 0x40, size: 4, value: 0x01, writable: 0xffc0 },
  // DEVACTB.
  { offset: 0x58, size: 4, value: APMC_ENABLE, writable: 0xffff_ffff },
  // PMREGMISC: whether they are decoded.
  { offset: 0x80, size: 1, writable: 0x01 },
  // SMBBA: the SMBus's, of 16 ports.
  { offset: 0x90, size: 4, value: 0x01, writable: 0xfff0 },
  // SMBHSTCFG.
  { offset: 0xd2, size: 1, writable: 0x0f },
];

/**
 * The device by which firmware and kernels know the south bridge of a PC: the 82371SB's ISA bridge (PIIX3, 8086:7000),
 * its IDE function (8086:7010) and the 82371AB's power management (PIIX4, 8086:7113), as functions 0, 1 and 3, which QEMU
 * has, too. They say that the parts are there, which are devices of their own, at their ports: an `IdeDisk`, the registers of
 * ACPI, PICs and so on.
 *
 * 82371FB and 82371SB data sheet; 82371AB data sheet, 4.1, 5.1 and 7.1. Left out: bus master IDE, which the programming
 * interface says (0x00), so that disks are driven by PIO; USB; SMM, which firmware is told has been set up. The registers
 * that move the power management's ports keep what is written: the ports are where their devices are put.
 *
 * The pins of the bus's functions lead to the interrupts that the registers PIRQRC[A:D] (0x60–0x63) say; at first, unless
 * the bus is `"unassigned"`, to those of its option `irqs`.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Disk, IdeDisk, PciBus, piix } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov dx, 0xcf8
 *   mov eax, 0x80000908     ; device 1, function 1: class, and revision
 *   out dx, eax
 *   mov dx, 0xcfc
 *   in  eax, dx
 *   hlt
 * `, { devices: [new IdeDisk(new Disk(512)), new PciBus([piix()])] });
 * vm.run();
 * console.log(vm.registers.eax.toString(16)); // 1010000: an IDE controller
 * ```
 */
export function piix(): (PciFunction | undefined)[] {
  return [
    new IsaBridge(),
    new PciFunction({
      name: "PIIX3 IDE",
      vendorId: INTEL,
      deviceId: 0x7010,
      classCode: 0x01_0100,
      registers: IDE_REGISTERS,
    }),
    undefined,
    new PciFunction({
      name: "PIIX4 PM",
      vendorId: INTEL,
      deviceId: 0x7113,
      classCode: 0x06_8000,
      revisionId: 0x03,
      registers: POWER_REGISTERS,
    }),
  ];
}
