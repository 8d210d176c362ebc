import { type PciBar, type PciCapability, PciFunction } from "../pci/pci_function.ts";
import type { VirtioDevice } from "./virtio_device.ts";
import { VirtioPciCommon } from "./virtio_pci_common.ts";
import { VirtioPciLegacy } from "./virtio_pci_legacy.ts";

/** IDs (virtio 1.2, 4.1.2): modern devices have 0x1040 and their type, transitional ones their own. */
const VENDOR_ID = 0x1af4;
const MODERN_DEVICE_ID = 0x1040;
const TRANSITIONAL_DEVICE_ID: Readonly<Record<number, number>> = {
  1: 0x1000,
  2: 0x1001,
  3: 0x1003,
};

/** What structures there are (4.1.4). */
const STRUCTURE = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;

const VENDOR_SPECIFIC = 0x09;
/** Offsets within the capability (4.1.4). */
const CAPABILITY = { BAR: 4, OFFSET: 8, LENGTH: 12, DATA: 16, SIZE: 16 } as const;

/** Which BAR has what: as QEMU has it. */
const BAR = { LEGACY: 0, MSIX: 1, MODERN: 4 } as const;

/** Where the structures lie in the modern BAR, each a page. */
const PAGE = 0x1000;
const COMMON_OFFSET = 0 * PAGE;
const ISR_OFFSET = 1 * PAGE;
const DEVICE_OFFSET = 2 * PAGE;
const NOTIFY_OFFSET = 3 * PAGE;
const MODERN_SIZE = 4 * PAGE;
const NOTIFY_MULTIPLIER = 4;

/** Which interfaces a device has. */
export type VirtioPciVersion = "legacy" | "transitional" | "modern";

/**
 * A virtio device as a PCI function (virtio 1.2, 4.1): by the legacy interface, of registers in ports (BAR 0), by the
 * modern one, of structures in memory (BAR 4) that capabilities tell of, or by both, as "transitional" devices. It
 * interrupts by INTA#, or by MSI-X (BAR 1) with a vector for the configuration and one for each queue. It reaches guest
 * memory as long as the guest lets it be a bus master.
 *
 * Left out: shared memory regions, notification data, the reset of a single queue.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Disk, PciBus, VirtioBlk, VirtioPci } from "@vmexit/vmexit/devices";
 *
 * const disk = new Disk(1 << 20);
 * const bus = new PciBus([new VirtioPci(new VirtioBlk(disk), { version: "modern" })]);
 * using vm = boot(asm.file("./driver.asm"), { devices: [bus] });
 * vm.run();
 * console.log(disk.written);
 * ```
 */
export class VirtioPci extends PciFunction {
  readonly #device: VirtioDevice;
  readonly #common: VirtioPciCommon;
  readonly #window: number;

  /**
   * A function with this device.
   *
   * @param options `version`: which interfaces it has. Default `"transitional"`, both.
   * @throws {TypeError} When the device has a transport, or is of a type that has no legacy interface.
   */
  constructor(device: VirtioDevice, options: { readonly version?: VirtioPciVersion } = {}) {
    const { version = "transitional" } = options;
    const isModern = version === "modern";
    const deviceId = isModern
      ? MODERN_DEVICE_ID + device.deviceType
      : TRANSITIONAL_DEVICE_ID[device.deviceType];
    if (deviceId === undefined) {
      throw new TypeError(
        `Cannot make ${device.name} a ${version} device: its type, ${device.deviceType}, has no legacy interface. ` +
          'Give version: "modern"',
      );
    }
    const common = new VirtioPciCommon(device);
    const isr = () => {
      const status = device.interruptStatus;
      device.acknowledge(status);
      return status;
    };
    const legacy = new VirtioPciLegacy(device, common, isr, () => this.hasMsix);
    const modern = modernBar(device, common, isr);
    super({
      name: device.name,
      vendorId: VENDOR_ID,
      deviceId,
      classCode: device.classCode,
      // 0 says that there is the legacy interface (4.1.2.3).
      revisionId: isModern ? 1 : 0,
      subsystemVendorId: VENDOR_ID,
      subsystemId: isModern ? deviceId : device.deviceType,
      interruptPin: "A",
      bars: [
        isModern ? undefined : legacy.bar,
        undefined,
        undefined,
        undefined,
        version === "legacy" ? undefined : modern,
      ],
      capabilities: version === "legacy" ? [] : CAPABILITIES,
      msix: { vectors: 1 + device.queueCount, bar: BAR.MSIX },
    });
    this.#device = device;
    this.#common = common;
    this.#window = version === "legacy" ? Infinity : this.#defineWindow();
    device.connect({
      memory: this.memory,
      interrupt: (queue) => this.#interrupt(queue),
      acknowledged: () => this.setPin(false),
    });
  }

  /** See {@linkcode PciFunction.reset}. */
  override reset(): void {
    super.reset();
    this.#device.reset();
    this.#common.reset();
  }

  /** See {@linkcode PciFunction.save}. */
  override save(): unknown {
    return { function: super.save(), device: this.#device.save(), common: this.#common.save() };
  }

  /** See {@linkcode PciFunction.restore}. */
  override restore(state: unknown): void {
    const saved = state as { function: unknown; device: unknown; common: unknown };
    super.restore(saved.function);
    this.#device.restore(saved.device);
    this.#common.restore(saved.common);
  }

  /** See {@linkcode PciFunction.readConfig}: the window into the BARs reads what it leads to. */
  override readConfig(offset: number, size: number): number {
    const target = this.#windowTarget(offset, size);
    if (target !== undefined) {
      this.config.set(offset, size, Number(target.bar.read(target.offset, size)));
    }
    return super.readConfig(offset, size);
  }

  /** See {@linkcode PciFunction.writeConfig}: the window writes to what it leads to. */
  override writeConfig(offset: number, value: number, size: number): void {
    super.writeConfig(offset, value, size);
    const target = this.#windowTarget(offset, size);
    if (target !== undefined) target.bar.write(target.offset, value, size);
  }

  /** Lets the guest write to the capability VIRTIO_PCI_CAP_PCI_CFG, and gives where it lies (4.1.4.9). */
  #defineWindow(): number {
    const offset = this.config.get(POINTER, 1) + CAPABILITIES.slice(0, -1)
      .reduce((sum, { bytes }) => sum + 2 + bytes.length, 0);
    this.config.define({ offset: offset + CAPABILITY.BAR, size: 1, writable: 0xff });
    for (const at of [CAPABILITY.OFFSET, CAPABILITY.LENGTH, CAPABILITY.DATA]) {
      this.config.define({ offset: offset + at, size: 4, writable: 0xffff_ffff });
    }
    return offset;
  }

  /** What an access to the window's data leads to, if it is one, and the guest has set it up. */
  #windowTarget(offset: number, size: number): { bar: PciBar; offset: number } | undefined {
    const window = this.#window;
    if (offset !== window + CAPABILITY.DATA) return undefined;
    const number = this.config.get(window + CAPABILITY.BAR, 1);
    const target = this.config.get(window + CAPABILITY.OFFSET, 4);
    const length = this.config.get(window + CAPABILITY.LENGTH, 4);
    const bar = this.bars.find(({ index }) => index === number)?.bar;
    const isInside = bar !== undefined && target + length <= bar.size && target % length === 0;
    return length === size && isInside ? { bar, offset: target } : undefined;
  }

  #interrupt(queue: number | undefined): void {
    if (!this.hasMsix) return this.setPin(true);
    const { queueVectors, configurationVector } = this.#common;
    this.signal(queue === undefined ? configurationVector : queueVectors[queue]);
  }
}

/** Where the configuration space has the offset of the first capability. */
const POINTER = 0x34;

const CAPABILITIES: readonly PciCapability[] = [
  structure(STRUCTURE.COMMON, COMMON_OFFSET),
  structure(STRUCTURE.ISR, ISR_OFFSET),
  structure(STRUCTURE.DEVICE, DEVICE_OFFSET),
  structure(STRUCTURE.NOTIFY, NOTIFY_OFFSET, NOTIFY_MULTIPLIER),
  structure(STRUCTURE.PCI, 0, 0),
];

function structure(type: number, offset: number, last?: number): PciCapability {
  const size = CAPABILITY.SIZE + (last === undefined ? 0 : 4);
  const bytes = new DataView(new ArrayBuffer(size));
  const isWindow = type === STRUCTURE.PCI;
  bytes.setUint8(2, size);
  bytes.setUint8(3, type);
  bytes.setUint8(CAPABILITY.BAR, isWindow ? 0 : BAR.MODERN);
  bytes.setUint32(CAPABILITY.OFFSET, offset, true);
  bytes.setUint32(CAPABILITY.LENGTH, isWindow ? 0 : PAGE, true);
  if (last !== undefined) bytes.setUint32(CAPABILITY.DATA, last, true);
  return { id: VENDOR_SPECIFIC, bytes: [...new Uint8Array(bytes.buffer, 2)] };
}

/** The structures in memory: each has its page, and reads as zeros behind its end. */
function modernBar(device: VirtioDevice, common: VirtioPciCommon, isr: () => number): PciBar {
  const parts: Readonly<Record<number, Pick<PciBar, "read" | "write">>> = {
    [COMMON_OFFSET]: common,
    [ISR_OFFSET]: {
      read: (offset) => offset === 0 ? isr() : 0,
      write: () => {},
    },
    [DEVICE_OFFSET]: {
      read: (offset, size) =>
        wide(size, (at, width) => device.readConfiguration(offset + at, width)),
      write: (offset, value, size) => {
        if (typeof value === "number") device.writeConfiguration(offset, value, size);
      },
    },
    [NOTIFY_OFFSET]: {
      read: () => 0,
      write: (offset) => device.notify(Math.floor(offset / NOTIFY_MULTIPLIER)),
    },
  };
  const partAt = (offset: number) => parts[offset - offset % PAGE];
  return {
    type: "memory64",
    size: MODERN_SIZE,
    prefetchable: true,
    read: (offset, size) => partAt(offset).read(offset % PAGE, size),
    write: (offset, value, size) => partAt(offset).write(offset % PAGE, value, size),
  };
}

/** A read of up to 8 bytes, of parts of up to 4. */
function wide(size: number, read: (at: number, width: number) => number): number | bigint {
  if (size <= 4) return read(0, size);
  return BigInt(read(4, size - 4)) << 32n | BigInt(read(0, 4));
}
