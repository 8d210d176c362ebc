import { PCI_WINDOWS, PORT } from "../../x86/layout.ts";
import { joinBytes, ones } from "../bytes.ts";
import type { Device, DeviceBoard, InterruptLine } from "../device.ts";
import { CONFIG_SIZE, HEADER } from "./config_space.ts";
import { hostBridge } from "./host_bridge.ts";
import { COMMAND, type PciFunction, type PlacedBar } from "./pci_function.ts";
import { IsaBridge } from "./piix.ts";
import { PIRQS, ROUTABLE_IRQS } from "./pirqs.ts";

/** CONFIG_ADDRESS (PCI Local Bus Specification 3.0, 3.2.2.3.2). */
const ADDRESS = { ENABLE: 0x8000_0000, WRITABLE: 0x80ff_fffc } as const;

/** Addresses of functions: 8 bits of bus, 5 of device, 3 of function. */
const FUNCTION_BITS = 3;
const DEVICES = 32;
const FUNCTIONS = 8;

/** ECAM: a page for each function of 256 buses (PCI Express Base Specification, 7.2.2). */
const ECAM = { SIZE: 256 * 2 ** 20, PAGE: 4096 } as const;

/** How a PCI bus is made. */
export interface PciBusOptions {
  /** What is device 0. Default a host bridge with the ID of i440FX (8086:1237). `null`: nothing. */
  readonly hostBridge?: PciFunction | null;
  /** Where configuration space lies in memory, too (ECAM, 256 MiB). Default nowhere. */
  readonly ecam?: number;
  /**
   * The IRQs that PIRQA# to PIRQD# lead to. Default 10, 10, 11, 11. With a {@linkcode piix} on the bus the guest may change
   * that, and where resources are `"unassigned"` they lead nowhere until it does.
   */
  readonly irqs?: readonly number[];
  /**
   * `"assigned"`, the default: BARs have addresses and the functions decode them, INTERRUPT_LINE has the IRQ, as firmware
   * leaves them. `"unassigned"`: as after RST#, for guests that are firmware.
   */
  readonly resources?: "assigned" | "unassigned";
}

/**
 * PCI bus 0: configuration mechanism 1 at ports 0xcf8 and 0xcfc, and ECAM where asked for (PCI Local Bus Specification
 * 3.0, 3.2.2.3; PCI Express Base Specification, 7.2.2); BARs that the guest may size, move and switch off; pins that lead
 * to interrupt lines by PIRQA# to PIRQD#, as on boards with a PIIX3, shared where they meet. What is not there reads as
 * ones. A BAR that meets memory or another device is not decoded, until one of them moves.
 *
 * Left out: bridges and other buses, hot plugging, special cycles.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { PciBus } from "@vmexit/vmexit/devices";
 *
 * using vm = boot(asm`
 *   mov dx, 0xcf8
 *   mov eax, 0x80000000
 *   out dx, eax
 *   mov dx, 0xcfc
 *   in  eax, dx
 *   hlt
 * `, { devices: [new PciBus([])] });
 * vm.run();
 * console.log(vm.registers.eax.toString(16)); // 12378086
 * ```
 */
export class PciBus implements Device {
  /** The name in tables of exits. */
  readonly name = "PCI";
  readonly #functions = new Map<number, PciFunction>();
  readonly #mapped = new Map<PciFunction, Map<number, Mapping>>();
  readonly #options: PciBusOptions;
  /** The functions that assert each PIRQ, and the interrupts that those lead to. */
  readonly #asserted: readonly Set<PciFunction>[] = PIRQS.map(() => new Set());
  #routes: readonly (number | undefined)[] = [];
  /** The line of each interrupt that a PIRQ can lead to. */
  readonly #lines = new Map<number, InterruptLine>();
  #isRestoring = false;
  #board!: DeviceBoard;
  #address = 0;

  /**
   * A bus.
   *
   * @param devices What is on it, from device 1 on: functions, lists of up to eight of them for devices that have more
   *   than one, or undefined for an empty slot, and for a function that is not there.
   * @throws {RangeError} When there are too many devices or functions, or no four IRQs, or a south bridge does not lead
   *   there.
   */
  constructor(
    devices: readonly (PciFunction | readonly (PciFunction | undefined)[] | undefined)[],
    options: PciBusOptions = {},
  ) {
    const { hostBridge: bridge = hostBridge(), irqs = PIRQS } = options;
    if (devices.length >= DEVICES) {
      throw new RangeError(
        `Cannot put ${devices.length} devices on a PCI bus: it has ${DEVICES - 1} slots`,
      );
    }
    if (irqs.length !== PIRQS.length) {
      throw new RangeError(`Cannot map PIRQs to ${irqs.length} IRQs: give ${PIRQS.length}`);
    }
    this.#options = options;
    [bridge ?? undefined, ...devices].forEach((device, slot) => {
      const functions = device === undefined ? [] : Array.isArray(device) ? device : [device];
      if (functions.length > FUNCTIONS) {
        throw new RangeError(
          `Cannot make PCI device ${slot} of ${functions.length} functions: it has ${FUNCTIONS}`,
        );
      }
      functions.forEach((each: PciFunction | undefined, number: number) => {
        if (each !== undefined) this.#functions.set(slot << FUNCTION_BITS | number, each);
      });
    });
    const stray = irqs.find((irq) => !ROUTABLE_IRQS.includes(irq));
    if (this.#bridge !== undefined && stray !== undefined) {
      throw new RangeError(
        `Cannot map PIRQs to IRQ ${stray}: the south bridge leads them to ${
          ROUTABLE_IRQS.join(", ")
        }`,
      );
    }
  }

  get #bridge(): IsaBridge | undefined {
    return [...this.#functions.values()].find((each) => each instanceof IsaBridge);
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    const { irqs = PIRQS, ecam } = this.#options;
    const isRoutable = this.#bridge !== undefined;
    for (const irq of isRoutable ? ROUTABLE_IRQS : irqs) {
      this.#lines.set(irq, this.#lines.get(irq) ?? board.interruptLine(irq));
    }
    this.#routes = irqs;
    for (const [place, each] of this.#functions) {
      const pirq = pirqOf(place, each);
      this.#mapped.set(each, new Map());
      each.attach({
        board,
        isMultiFunction: [...this.#functions.keys()].some((other) =>
          other !== place && other >>> FUNCTION_BITS === place >>> FUNCTION_BITS
        ),
        setPin: (asserted) => {
          if (asserted) this.#asserted[pirq].add(each);
          else this.#asserted[pirq].delete(each);
          this.#drive();
        },
        decodingChanged: () => this.#map(each),
        routePirqs: (irqs) => {
          this.#routes = irqs;
          this.#drive();
        },
      });
    }
    this.#claimConfiguration(board, ecam);
    this.#assign();
  }

  #claimConfiguration({ ports, mmio }: DeviceBoard, ecam: number | undefined): void {
    // One port: those behind it are others', such as the reset control register at 0xcf9. It takes doublewords only.
    ports.on(PORT.pciAddress, {
      name: `${this.name} address`,
      read: (_port, size) => size === 4 ? this.#address : ones(size),
      write: (_port, value, size) => {
        if (size === 4) this.#address = (value & ADDRESS.WRITABLE) >>> 0;
      },
    });
    ports.on([PORT.pciData, PORT.pciData + 3], {
      name: `${this.name} data`,
      read: (port, size) => this.#readData(port - PORT.pciData, size),
      write: (port, value, size) => this.#writeData(port - PORT.pciData, value, size),
    });
    if (ecam === undefined) return;
    mmio.on([ecam, ecam + ECAM.SIZE - 1], {
      name: `${this.name} ECAM`,
      read: (address, size) => {
        const place = Math.floor((address - ecam) / ECAM.PAGE);
        const offset = (address - ecam) % ECAM.PAGE;
        const low = this.#readConfig(place, offset, Math.min(size, 4));
        if (size <= 4) return low;
        return BigInt(this.#readConfig(place, offset + 4, size - 4)) << 32n | BigInt(low);
      },
      write: (address, value, size) => {
        const place = Math.floor((address - ecam) / ECAM.PAGE);
        const offset = (address - ecam) % ECAM.PAGE;
        const low = Number(BigInt.asUintN(32, BigInt(value)));
        this.#writeConfig(place, offset, low, Math.min(size, 4));
        if (size <= 4) return;
        this.#writeConfig(place, offset + 4, Number(BigInt(value) >> 32n), size - 4);
      },
    });
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#address = 0;
    for (const each of this.#functions.values()) {
      each.reset();
      this.#map(each);
    }
    this.#assign();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    const functions = [...this.#functions].map(([place, each]) => [place, each.save()]);
    return { address: this.#address, functions };
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { address, functions } = state as { address: number; functions: [number, unknown][] };
    this.#address = address;
    this.#isRestoring = true;
    try {
      for (const [place, saved] of functions) this.#functions.get(place)!.restore(saved);
    } finally {
      this.#isRestoring = false;
    }
    this.#drive();
  }

  #readData(offset: number, size: number): number {
    if (this.#address < ADDRESS.ENABLE) return ones(size);
    // An access reaches no further than its doubleword.
    const inside = Math.min(size, 4 - offset);
    const value = this.#readConfig(
      this.#address >>> 8 & 0xffff,
      (this.#address & 0xfc) + offset,
      inside,
    );
    return value + 2 ** (8 * size) - 2 ** (8 * inside);
  }

  #writeData(offset: number, value: number, size: number): void {
    if (this.#address < ADDRESS.ENABLE) return;
    const inside = Math.min(size, 4 - offset);
    this.#writeConfig(
      this.#address >>> 8 & 0xffff,
      (this.#address & 0xfc) + offset,
      value,
      inside,
    );
  }

  #readConfig(place: number, offset: number, size: number): number {
    const found = this.#functions.get(place);
    if (found === undefined) return ones(size);
    // Behind its end lies the space of PCI Express: without capabilities.
    if (offset + size > CONFIG_SIZE) {
      return joinBytes(
        size,
        (at) => offset + at < CONFIG_SIZE ? found.readConfig(offset + at, 1) : 0,
      );
    }
    return found.readConfig(offset, size);
  }

  #writeConfig(place: number, offset: number, value: number, size: number): void {
    if (offset + size <= CONFIG_SIZE) this.#functions.get(place)?.writeConfig(offset, value, size);
  }

  /** Sets the lines to what the PIRQs are that lead there. */
  #drive(): void {
    // Half of the functions say nothing of the lines that all of them share.
    if (this.#isRestoring) return;
    for (const [irq, line] of this.#lines) {
      line.set(this.#routes.some((each, pirq) => each === irq && this.#asserted[pirq].size > 0));
    }
  }

  /** Does what firmware does: BARs from the windows on, the largest first, so that each lies at a multiple of its size. */
  #assign(): void {
    const { irqs = PIRQS, resources } = this.#options;
    if (resources === "unassigned") return;
    this.#bridge?.route(irqs);
    const next: Record<keyof typeof PCI_WINDOWS, number> = { ...PCI_WINDOWS };
    const all = [...this.#functions.values()].flatMap((each) =>
      each.bars.map((placed) => ({ ...placed, each }))
    );
    for (const { each, index, bar } of all.sort((a, b) => b.bar.size - a.bar.size)) {
      const kind = bar.type === "io" ? "io" : "memory";
      each.writeConfig(HEADER.BAR + index * 4, next[kind], 4);
      next[kind] += bar.size;
    }
    for (const [place, each] of this.#functions) {
      each.writeConfig(HEADER.COMMAND, COMMAND.IO | COMMAND.MEMORY, 2);
      if (each.pin !== 0) {
        each.writeConfig(HEADER.INTERRUPT_LINE, irqs[pirqOf(place, each)], 1);
      }
    }
  }

  /** Lets a function answer where its BARs are now, and others where it has made room. */
  #map(changed: PciFunction): void {
    this.#mapBars(changed);
    for (const each of this.#functions.values()) if (each !== changed) this.#mapBars(each);
  }

  #mapBars(each: PciFunction): void {
    const mapped = this.#mapped.get(each)!;
    for (const placed of each.bars) {
      const before = mapped.get(placed.index);
      if (before?.address === placed.address) continue;
      before?.claim[Symbol.dispose]();
      mapped.delete(placed.index);
      const claim = this.#claim(each, placed);
      if (claim !== undefined) mapped.set(placed.index, { address: placed.address!, claim });
    }
  }

  #claim(each: PciFunction, { index, bar, address }: PlacedBar): Disposable | undefined {
    if (address === undefined) return undefined;
    const name = `${each.name} BAR${index}`;
    const range = [address, address + bar.size - 1] as const;
    const { ports, mmio } = this.#board;
    try {
      if (bar.type !== "io") {
        return mmio.on(range, {
          name,
          read: (at, size) => bar.read(at - address, size),
          write: (at, value, size) => bar.write(at - address, value, size),
        });
      }
      return ports.on(range, {
        name,
        read: (at, size) => Number(bar.read(at - address, size)),
        write: (at, value, size) => bar.write(at - address, value, size),
      });
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }
}

/** The PIRQ of a function's pin: each device has the next one for its INTA#, beginning with PIRQA# at device 1. */
function pirqOf(place: number, { pin }: PciFunction): number {
  const slot = place >>> FUNCTION_BITS;
  return (Math.max(pin, 1) - 1 + slot + PIRQS.length - 1) % PIRQS.length;
}

/** Where a BAR answers. */
interface Mapping {
  readonly address: number;
  readonly claim: Disposable;
}
