import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import {
  ACPI_TABLES,
  HPET,
  IOAPIC,
  LAST_PORT,
  LOCAL_APIC,
  PCI_WINDOWS,
  PORT,
} from "../../x86/layout.ts";
import { HPET_PERIOD, hpetCapabilities } from "../hpet_registers.ts";
import { PIRQS } from "../pci/pirqs.ts";
import { type Aml, amlPackage, buffer, device, integer, littleEndian, name, scope } from "./aml.ts";
import { PM_REGISTER, PM_SIZE, PM_TIMER, SCI_IRQ } from "./pm_registers.ts";

/** What {@linkcode acpiTables} describe. */
export interface AcpiTablesOptions {
  /** Where they will lie: RSDP first. Default 0xe0000, where it is looked for; a multiple of 64 below 4 GiB. */
  readonly address?: number;
  /** How many CPUs there are. Default 1. */
  readonly cpus?: number;
  /** The first of the ports of `AcpiPower`, its sleep type of S5, and its interrupt. Default 0x600, 0 and 9. */
  readonly power?: { readonly base?: number; readonly s5?: number; readonly sci?: number };
  /** The bits of `AcpiPmTimer`, at 8 behind the ports of `AcpiPower`. Default 24. */
  readonly pmTimerBits?: 24 | 32;
  /** Whether there is a local APIC for each CPU, with an IOAPIC: the option `irqchip`. Default true. */
  readonly apics?: boolean;
  /** Whether there is an `Hpet`, at 0xfed00000. Default false. */
  readonly hpet?: boolean;
  /**
   * A `PciBus`: the device `\_SB.PCI0` with its windows and interrupts, and an MCFG where it has ECAM. Default none.
   */
  readonly pci?: { readonly irqs?: readonly number[]; readonly ecam?: number };
}

const OPTIONS: NamesOf<AcpiTablesOptions> = {
  address: "value",
  cpus: "value",
  power: "value",
  pmTimerBits: "value",
  apics: "flag",
  hpet: "flag",
  pci: "value",
};

/** Offsets in the header that all tables but RSDP and FACS begin with (ACPI specification 6.5, table 5.4). */
const HEADER = { LENGTH: 4, REVISION: 8, CHECKSUM: 9, SIZE: 36 } as const;

/** RSDP (table 5.3). */
const RSDP = { SIZE: 36, CHECKED_FIRST: 20, CHECKSUM: 8, EXTENDED_CHECKSUM: 32 } as const;

const FACS_SIZE = 64;

/** What each table begins at a multiple of; FACS wants it. */
const ALIGNMENT = 64;

/** Offsets in the FADT (table 5.9), and its size in revision 3. */
const FADT = {
  FIRMWARE_CTRL: 36,
  DSDT: 40,
  SCI_INT: 46,
  PM1A_EVT_BLK: 56,
  PM1A_CNT_BLK: 64,
  PM_TMR_BLK: 76,
  PM1_EVT_LEN: 88,
  PM1_CNT_LEN: 89,
  PM_TMR_LEN: 91,
  P_LVL2_LAT: 96,
  P_LVL3_LAT: 98,
  CENTURY: 108,
  IAPC_BOOT_ARCH: 109,
  FLAGS: 112,
  RESET_REG: 116,
  RESET_VALUE: 128,
  X_FIRMWARE_CTRL: 132,
  X_DSDT: 140,
  X_PM1A_EVT_BLK: 148,
  X_PM1A_CNT_BLK: 172,
  X_PM_TMR_BLK: 208,
  SIZE: 244,
} as const;

/** Latencies from here on say that there is no C2, and no C3. */
const NO_C2 = 101;
const NO_C3 = 1001;

const FADT_FLAG = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  NO_SLEEP_BUTTON: 1 << 5,
  TMR_VAL_EXT: 1 << 8,
  RESET_REG: 1 << 10,
} as const;

/** Legacy devices, and an 8042 (table 5.10). */
const BOOT_ARCH = 0x0003;

/** The century's byte of the CMOS memory. */
const CENTURY = 0x32;

/** Address spaces of generic addresses (table 5.1). */
const SPACE = { MEMORY: 0, IO: 1 } as const;

/** What the reset control register is given for a reset. */
const RESET_VALUE = 6;

/** Structures of the MADT (5.2.12). */
const MADT = { LOCAL_APIC: 0, IOAPIC: 1, SOURCE_OVERRIDE: 2, LOCAL_APIC_NMI: 4 } as const;
const PCAT_COMPATIBLE = 1;
const CPU_ENABLED = 1;
const ALL_CPUS = 0xff;
const LINT1 = 1;
const LEVEL_ACTIVE_HIGH = 0x0d;

/** An `Hpet` has three timers by default. */
const LAST_HPET_TIMER = 2;

const PNP_PCI_HOST_BRIDGE = 0x030a_d041;
const PCI_DEVICES = 32;
const PCI_PINS = 4;
const ANY_FUNCTION = 0xffff;
const LAST_BUS = 255;

type Bytes = readonly number[];

/**
 * Makes the ACPI tables of a machine with the devices of `pc()`: RSDP, XSDT, RSDT, FADT, FACS, MADT and a DSDT with
 * `\_S5`; with them kernels find the CPUs and the APICs, the timer, the power button and how to turn the power off. A
 * test, or a boot protocol, writes them to memory.
 *
 * ACPI specification 6.5, 5.2. The FADT is that of revision 3.
 *
 * @returns The bytes for `address`, with all checksums.
 * @throws {RangeError} When the address is no multiple of 64, or not below 4 GiB.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { AcpiPower, acpiTables } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`hlt`, { devices: [new AcpiPower()] });
 * vm.memory.write(0xe0000, acpiTables());
 * ```
 */
export function acpiTables(options: AcpiTablesOptions = {}): Uint8Array<ArrayBuffer> {
  checkOptions("make ACPI tables", options, OPTIONS);
  const { address = ACPI_TABLES, apics = true, hpet = false, pci } = options;
  if (!Number.isInteger(address / ALIGNMENT) || address < 0 || address >= 2 ** 32) {
    throw new RangeError(
      `Cannot place ACPI tables at ${address}: it is not a multiple of ${ALIGNMENT} below 4 GiB`,
    );
  }
  const placed: number[] = Array(aligned(RSDP.SIZE)).fill(0);
  const place = (table: Bytes): number => {
    const at = address + placed.length;
    placed.push(...table, ...Array(aligned(table.length) - table.length).fill(0));
    return at;
  };
  const facs = place(facsTable());
  const dsdt = place(table("DSDT", 2, dsdtBody(options)));
  const tables = [place(table("FACP", 3, fadtBody(options, facs, dsdt)))];
  if (apics) tables.push(place(table("APIC", 3, madtBody(options))));
  if (hpet) tables.push(place(table("HPET", 1, hpetBody())));
  if (pci?.ecam !== undefined) tables.push(place(table("MCFG", 1, mcfgBody(pci.ecam))));
  const pointers = (size: number) => tables.flatMap((each) => littleEndian(each, size));
  const rsdt = place(table("RSDT", 1, pointers(4)));
  const xsdt = place(table("XSDT", 1, pointers(8)));
  const bytes = Uint8Array.from(placed);
  bytes.set(rsdpTable(rsdt, xsdt));
  return bytes;
}

function aligned(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

function text(string: string, size: number): Bytes {
  return [...new TextEncoder().encode(string.padEnd(size, " "))];
}

/** The byte that makes the sum of all zero. */
function checksum(bytes: Bytes): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function table(signature: string, revision: number, body: Bytes): Bytes {
  const bytes = [
    ...text(signature, 4),
    ...littleEndian(HEADER.SIZE + body.length, 4),
    revision,
    0,
    ...text("VMEXIT", 6),
    ...text("VMEXIT", 8),
    ...littleEndian(1, 4),
    ...text("VMEX", 4),
    ...littleEndian(1, 4),
    ...body,
  ];
  bytes[HEADER.CHECKSUM] = checksum(bytes);
  return bytes;
}

function rsdpTable(rsdt: number, xsdt: number): Bytes {
  const bytes = [
    ...text("RSD PTR ", 8),
    0,
    ...text("VMEXIT", 6),
    2,
    ...littleEndian(rsdt, 4),
    ...littleEndian(RSDP.SIZE, 4),
    ...littleEndian(xsdt, 8),
    0,
    ...littleEndian(0, 3),
  ];
  bytes[RSDP.CHECKSUM] = checksum(bytes.slice(0, RSDP.CHECKED_FIRST));
  bytes[RSDP.EXTENDED_CHECKSUM] = checksum(bytes);
  return bytes;
}

function facsTable(): Bytes {
  const bytes: number[] = Array(FACS_SIZE).fill(0);
  bytes.splice(0, HEADER.REVISION, ...text("FACS", 4), ...littleEndian(FACS_SIZE, 4));
  // Version 1, behind the flags.
  bytes[32] = 1;
  return bytes;
}

/** A generic address (table 5.1). */
function genericAddress(space: number, bits: number, address: number): Bytes {
  return [space, bits, 0, 0, ...littleEndian(address, 8)];
}

function fadtBody(
  { power = {}, pmTimerBits = 24 }: AcpiTablesOptions,
  facs: number,
  dsdt: number,
): Bytes {
  const { base = PORT.acpiPm, sci = SCI_IRQ } = power;
  const bytes: number[] = Array(FADT.SIZE).fill(0);
  const put = (offset: number, value: Bytes) => void bytes.splice(offset, value.length, ...value);
  const [control, timer] = [base + PM_REGISTER.CONTROL, base + PM_TIMER.OFFSET];
  put(FADT.FIRMWARE_CTRL, littleEndian(facs, 4));
  put(FADT.DSDT, littleEndian(dsdt, 4));
  put(FADT.SCI_INT, littleEndian(sci, 2));
  put(FADT.PM1A_EVT_BLK, littleEndian(base, 4));
  put(FADT.PM1A_CNT_BLK, littleEndian(control, 4));
  put(FADT.PM_TMR_BLK, littleEndian(timer, 4));
  put(FADT.PM1_EVT_LEN, [PM_SIZE.EVENT]);
  put(FADT.PM1_CNT_LEN, [PM_SIZE.CONTROL]);
  put(FADT.PM_TMR_LEN, [PM_TIMER.SIZE]);
  put(FADT.P_LVL2_LAT, littleEndian(NO_C2, 2));
  put(FADT.P_LVL3_LAT, littleEndian(NO_C3, 2));
  put(FADT.CENTURY, [CENTURY]);
  put(FADT.IAPC_BOOT_ARCH, littleEndian(BOOT_ARCH, 2));
  const { WBINVD, PROC_C1, NO_SLEEP_BUTTON, RESET_REG, TMR_VAL_EXT } = FADT_FLAG;
  const flags = WBINVD | PROC_C1 | NO_SLEEP_BUTTON | RESET_REG;
  put(FADT.FLAGS, littleEndian(pmTimerBits === 32 ? flags | TMR_VAL_EXT : flags, 4));
  put(FADT.RESET_REG, genericAddress(SPACE.IO, 8, PORT.resetControl));
  put(FADT.RESET_VALUE, [RESET_VALUE]);
  put(FADT.X_FIRMWARE_CTRL, littleEndian(facs, 8));
  put(FADT.X_DSDT, littleEndian(dsdt, 8));
  put(FADT.X_PM1A_EVT_BLK, genericAddress(SPACE.IO, 8 * PM_SIZE.EVENT, base));
  put(FADT.X_PM1A_CNT_BLK, genericAddress(SPACE.IO, 8 * PM_SIZE.CONTROL, control));
  put(FADT.X_PM_TMR_BLK, genericAddress(SPACE.IO, 8 * PM_TIMER.SIZE, timer));
  return bytes.slice(HEADER.SIZE);
}

function madtBody({ cpus = 1, power = {}, pci }: AcpiTablesOptions): Bytes {
  const { sci = SCI_IRQ } = power;
  const structure = (type: number, body: Bytes) => [type, body.length + 2, ...body];
  const override = (irq: number, flags: number) =>
    structure(MADT.SOURCE_OVERRIDE, [0, irq, ...littleEndian(irq, 4), ...littleEndian(flags, 2)]);
  const levels = new Set([sci, ...pci === undefined ? [] : pci.irqs ?? PIRQS]);
  return [
    ...littleEndian(LOCAL_APIC, 4),
    ...littleEndian(PCAT_COMPATIBLE, 4),
    ...Array.from(
      { length: cpus },
      (_, cpu) => structure(MADT.LOCAL_APIC, [cpu, cpu, ...littleEndian(CPU_ENABLED, 4)]),
    ).flat(),
    ...structure(MADT.IOAPIC, [cpus, 0, ...littleEndian(IOAPIC, 4), ...littleEndian(0, 4)]),
    // None for IRQ 0: unlike on a PC, KVM's timer comes in at pin 0 of the IOAPIC (api.rst, KVM_CREATE_IRQCHIP).
    ...[...levels].flatMap((irq) => override(irq, LEVEL_ACTIVE_HIGH)),
    ...structure(MADT.LOCAL_APIC_NMI, [ALL_CPUS, ...littleEndian(0, 2), LINT1]),
  ];
}

/** IA-PC HPET specification 1.0a, 3.2.4. */
function hpetBody(): Bytes {
  const blockId = Number(BigInt.asUintN(32, hpetCapabilities(LAST_HPET_TIMER)));
  return [
    ...littleEndian(blockId, 4),
    ...genericAddress(SPACE.MEMORY, 64, HPET),
    0,
    ...littleEndian(Math.ceil(1e9 / HPET_PERIOD), 2),
    0,
  ];
}

/** PCI firmware specification 3.2, table 4-2. */
function mcfgBody(ecam: number): Bytes {
  return [
    ...littleEndian(0, 8),
    ...littleEndian(ecam, 8),
    ...littleEndian(0, 2),
    0,
    LAST_BUS,
    ...littleEndian(0, 4),
  ];
}

function dsdtBody({ power = {}, pci }: AcpiTablesOptions): Bytes {
  const { s5 = 0 } = power;
  const sleep = name("_S5_", amlPackage([integer(s5), integer(s5), integer(0), integer(0)]));
  if (pci === undefined) return sleep;
  const hid = name("_HID", integer(PNP_PCI_HOST_BRIDGE));
  const prt = name("_PRT", amlPackage(pciRoutes(pci.irqs ?? PIRQS)));
  const host = device("PCI0", [hid, name("_CRS", buffer(pciWindows())), prt]);
  return [...sleep, ...scope("\\_SB_", [host])];
}

/** `_PRT`: the interrupt of each pin of each device (6.2.13), rotated by device as on the bus. */
function pciRoutes(irqs: readonly number[]): Aml[] {
  return Array.from({ length: (PCI_DEVICES - 1) * PCI_PINS }, (_, index) => {
    const slot = 1 + Math.floor(index / PCI_PINS);
    const pin = index % PCI_PINS;
    const irq = irqs[(pin + slot + PCI_PINS - 1) % PCI_PINS];
    return amlPackage([
      integer(slot * 2 ** 16 + ANY_FUNCTION),
      integer(pin),
      integer(0),
      integer(irq),
    ]);
  });
}

/** Resource descriptors, their sizes, and what they say (6.4). */
const RESOURCE = {
  PORTS: 0x47,
  END: 0x79,
  DWORD: 0x87,
  DWORD_SIZE: 0x17,
  WORD: 0x88,
  WORD_SIZE: 0x0d,
} as const;
const WINDOW = { MEMORY: 0, PORTS: 1, BUSES: 2 } as const;
const FIXED = 0x0c;
const DECODES_16 = 1;
const ALL_PORTS = 3;
const WRITABLE = 1;
const VIDEO_MEMORY = { first: 0xa_0000, last: 0xb_ffff } as const;

/** `_CRS`: bus numbers, the configuration ports, all other ports, and memory (6.4). */
function pciWindows(): Bytes {
  const word = (type: number, flags: number, first: number, last: number) => [
    ...[RESOURCE.WORD, ...littleEndian(RESOURCE.WORD_SIZE, 2), type, FIXED, flags],
    ...[0, first, last, 0, last - first + 1].flatMap((value) => littleEndian(value, 2)),
  ];
  const dword = (first: number, last: number) => [
    ...[RESOURCE.DWORD, ...littleEndian(RESOURCE.DWORD_SIZE, 2), WINDOW.MEMORY, FIXED, WRITABLE],
    ...[0, first, last, 0, last - first + 1].flatMap((value) => littleEndian(value, 4)),
  ];
  const [address, size] = [PORT.pciAddress, 8];
  return [
    ...word(WINDOW.BUSES, 0, 0, LAST_BUS),
    ...[RESOURCE.PORTS, DECODES_16, ...littleEndian(address, 2), ...littleEndian(address, 2)],
    ...[1, size],
    ...word(WINDOW.PORTS, ALL_PORTS, 0, address - 1),
    ...word(WINDOW.PORTS, ALL_PORTS, address + size, LAST_PORT),
    ...dword(VIDEO_MEMORY.first, VIDEO_MEMORY.last),
    ...dword(PCI_WINDOWS.memory, IOAPIC - 1),
    ...[RESOURCE.END, 0],
  ];
}
