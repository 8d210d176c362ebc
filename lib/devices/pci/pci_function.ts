import { hex } from "../../x86/hex.ts";
import type { DeviceBoard, DeviceMemory } from "../device.ts";
import type { NoPromise } from "../handlers.ts";
import { type ConfigRegister, ConfigSpace, HEADER } from "./config_space.ts";
import { sendMessage } from "./message.ts";
import { Msi, MSI_SIZE } from "./msi.ts";
import { Msix, MSIX_SIZE } from "./msix.ts";

/** Bits of the command register (PCI Local Bus Specification 3.0, table 6-1). */
export const COMMAND = {
  IO: 0x0001,
  MEMORY: 0x0002,
  BUS_MASTER: 0x0004,
  PARITY_ERROR_RESPONSE: 0x0040,
  SERR_ENABLE: 0x0100,
  INTERRUPT_DISABLE: 0x0400,
} as const;

/** Bits of the status register (table 6-2). */
const STATUS = {
  INTERRUPT: 0x0008,
  CAPABILITIES: 0x0010,
  /** Errors, which the guest clears by writing one. */
  ERRORS: 0xf900,
} as const;

/** The bit of the header type that says that there are more functions. */
const MULTI_FUNCTION = 0x80;

/** The low bits of a BAR, which say what it is (6.2.5.1). */
const BAR_BITS = { IO: 0x1, MEMORY_64: 0x4, PREFETCHABLE: 0x8 } as const;
const BAR_COUNT = 6;
const BAR_SIZE = 4;
/** The least sizes: 4 ports, or 16 bytes of memory. */
const MINIMUM_SIZE = { io: 4, memory32: 16, memory64: 16 } as const;

/** Interrupt pins, as the register has them. */
const PINS = ["A", "B", "C", "D"] as const;

/** Registers of a function behind a base address. */
export interface PciBar {
  /** In ports, in memory below 4 GiB, or in memory anywhere: then the BAR takes two places. */
  readonly type: "io" | "memory32" | "memory64";
  /** How many bytes: a power of two, from 4 on for ports and from 16 on for memory. */
  readonly size: number;
  /** Whether reads have no effects, and writes may be merged. Default false. */
  readonly prefetchable?: boolean;
  /** Answers a read. The value must fit `size` bytes, of which memory may have up to 8. */
  read(offset: number, size: number): number | bigint;
  /** Takes a write. Up to 4 bytes are a number, and more a bigint. */
  write(offset: number, value: number | bigint, size: number): NoPromise;
}

/** An entry of a function's list of capabilities. */
export interface PciCapability {
  /** What it is: 0x09 is vendor-specific. */
  readonly id: number;
  /** What follows its ID and the pointer to the next: read-only. */
  readonly bytes: readonly number[];
}

/** What a PCI function is. */
export interface PciFunctionInit {
  /** What it is called in tables of exits. */
  readonly name: string;
  /** Who made it: 16 bits. */
  readonly vendorId: number;
  /** What its maker calls it: 16 bits. */
  readonly deviceId: number;
  /** Base class, subclass and programming interface: 24 bits, such as 0x020000 for Ethernet. */
  readonly classCode: number;
  /** Its revision: 8 bits. Default 0, as all that follow. */
  readonly revisionId?: number;
  /** Who made the board that it is on: 16 bits. */
  readonly subsystemVendorId?: number;
  /** What that is called: 16 bits. */
  readonly subsystemId?: number;
  /** The pin by which it interrupts. Default none. */
  readonly interruptPin?: "A" | "B" | "C" | "D";
  /** Its base addresses, up to six; a place behind one of 64 bits is left undefined. */
  readonly bars?: readonly (PciBar | undefined)[];
  /** Its capabilities, beside MSI and MSI-X. */
  readonly capabilities?: readonly PciCapability[];
  /** How many messages it has by MSI: 1, 2, 4, 8, 16 or 32. Default none. */
  readonly msi?: number;
  /** How many vectors it has by MSI-X, and which BAR has their table: a place that `bars` leaves free. */
  readonly msix?: { readonly vectors: number; readonly bar: number };
  /** More registers in the configuration space, behind the header and the capabilities. */
  readonly registers?: readonly ConfigRegister[];
}

/** What a function is given of its bus. */
export interface PciHost {
  /** The board. */
  readonly board: DeviceBoard;
  /** Whether its device has more functions. */
  readonly isMultiFunction: boolean;
  /** Takes the level of the function's interrupt pin. */
  setPin(asserted: boolean): void;
  /** Told that the command register or a BAR was written. */
  decodingChanged(): void;
  /** Leads PIRQA# to PIRQD# to interrupts, or nowhere, as a south bridge does. */
  routePirqs(irqs: readonly (number | undefined)[]): void;
}

/** A BAR, and where the guest has put it. */
export interface PlacedBar {
  /** Its number. */
  readonly index: number;
  /** What it is. */
  readonly bar: PciBar;
  /** The first port or address; undefined where the function does not decode it. */
  readonly address: number | undefined;
}

/**
 * A function on a {@linkcode PciBus}, with a header of type 0 (PCI Local Bus Specification 3.0, 6). It is made of what it
 * is and of its BARs' handlers; whoever wants more extends it.
 *
 * Left out: expansion ROMs, CardBus, power management, the extended configuration space of PCI Express.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { PciBus, PciFunction } from "@vmexit/vmexit/devices";
 *
 * const random = new PciFunction({
 *   name: "dice",
 *   vendorId: 0x1234,
 *   deviceId: 0x0006,
 *   classCode: 0xff0000,
 *   bars: [{ type: "io", size: 4, read: () => 4, write() {} }],
 * });
 * using vm = boot(asm`
 *   mov dx, 0xcf8
 *   mov eax, 0x80000810   ; BAR 0 of device 1
 *   out dx, eax
 *   mov dx, 0xcfc
 *   in  eax, dx
 *   and al, 0xfc
 *   mov dx, ax
 *   in  al, dx
 *   hlt
 * `, { devices: [new PciBus([random])] });
 * vm.run();
 * console.log(vm.registers.al); // 4
 * ```
 */
export class PciFunction {
  /** What it is called in tables of exits. */
  readonly name: string;
  /** Its configuration space. */
  protected readonly config: ConfigSpace = new ConfigSpace();
  readonly #bars: (PciBar | undefined)[];
  readonly #msi: Msi | undefined;
  readonly #msix: Msix | undefined;
  readonly #pin: number;
  #host: PciHost | undefined;
  #isAsserted = false;

  /**
   * A function.
   *
   * @throws {RangeError} When a number does not fit its register, a BAR's size is no power of two, or two things have
   *   one place.
   */
  constructor(init: PciFunctionInit) {
    const { name, interruptPin, capabilities = [], msi, msix, registers = [] } = init;
    this.name = name;
    this.#pin = interruptPin === undefined ? 0 : PINS.indexOf(interruptPin) + 1;
    const send = (address: bigint, data: number) => this.#sendMessage(address, data);
    let free: number = HEADER.END;
    const sizes = [
      ...capabilities.map(({ bytes }) => 2 + bytes.length),
      ...msi === undefined ? [] : [MSI_SIZE],
      ...msix === undefined ? [] : [MSIX_SIZE],
    ];
    const offsets = sizes.map((size) => {
      const offset = free;
      free += Math.ceil(size / 4) * 4;
      return offset;
    });
    const nextOf = (index: number) => offsets[index + 1] ?? 0;
    capabilities.forEach(({ id, bytes }, index) =>
      [id, nextOf(index), ...bytes].forEach((value, at) =>
        this.config.define({ offset: offsets[index] + at, size: 1, value })
      )
    );
    let index = capabilities.length;
    if (msi !== undefined) {
      checkIsOneOf(name, msi);
      this.#msi = new Msi(this.config, offsets[index], nextOf(index), msi, send);
      index++;
    }
    if (msix !== undefined) {
      this.#msix = new Msix(this.config, offsets[index], nextOf(index), msix, send);
    }
    this.#defineHeader(init, offsets[0] ?? 0);
    this.#bars = this.#defineBars(init);
    for (const register of registers) this.config.define(register);
  }

  #defineHeader(init: PciFunctionInit, capabilities: number): void {
    const define = (register: ConfigRegister) => this.config.define(register);
    const number = (offset: number, size: 1 | 2 | 3 | 4, value: number = 0) => {
      if (!Number.isSafeInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
        throw new RangeError(
          `Cannot make the PCI function ${init.name}: ${
            hex(value)
          }, which was given for the register at ${
            hex(offset)
          } of its header, is no whole number of ${8 * size} bits`,
        );
      }
      define({ offset, size, value });
    };
    number(HEADER.VENDOR_ID, 2, init.vendorId);
    number(HEADER.DEVICE_ID, 2, init.deviceId);
    number(HEADER.CLASS_CODE, 3, init.classCode);
    number(HEADER.REVISION_ID, 1, init.revisionId);
    number(HEADER.SUBSYSTEM_VENDOR_ID, 2, init.subsystemVendorId);
    number(HEADER.SUBSYSTEM_ID, 2, init.subsystemId);
    number(HEADER.INTERRUPT_PIN, 1, this.#pin);
    number(HEADER.CAPABILITIES, 1, capabilities);
    define({
      offset: HEADER.COMMAND,
      size: 2,
      writable: Object.values(COMMAND).reduce((all, bit) => all | bit, 0),
    });
    define({
      offset: HEADER.STATUS,
      size: 2,
      value: capabilities === 0 ? 0 : STATUS.CAPABILITIES,
      writeOneToClear: STATUS.ERRORS,
    });
    define({ offset: HEADER.CACHE_LINE_SIZE, size: 1, writable: 0xff });
    define({ offset: HEADER.LATENCY_TIMER, size: 1, writable: 0xff });
    define({ offset: HEADER.INTERRUPT_LINE, size: 1, writable: this.#pin === 0 ? 0 : 0xff });
  }

  #defineBars({ name, bars = [], msix }: PciFunctionInit): (PciBar | undefined)[] {
    const all: (PciBar | undefined)[] = Array.from({ length: BAR_COUNT }, (_, at) => bars[at]);
    const refuse = (index: number, why: string) => {
      throw new RangeError(`Cannot make BAR ${index} of the PCI function ${name}: ${why}`);
    };
    if (bars.length > BAR_COUNT) refuse(BAR_COUNT, `there are ${BAR_COUNT}, numbered from 0 on`);
    const table = this.#msix;
    if (msix !== undefined && table !== undefined) {
      if (all[msix.bar] !== undefined || !(msix.bar in all)) {
        refuse(msix.bar, "MSI-X needs a free place for its table");
      }
      all[msix.bar] = {
        type: "memory32",
        size: table.size,
        read: (offset, size) => table.read(offset, size),
        write: (offset, value, size) => table.write(offset, value, size),
      };
    }
    all.forEach((bar, index) => {
      if (bar === undefined) return;
      const { type, size, prefetchable = false } = bar;
      const isPower = Number.isSafeInteger(size) && size > 0 && Number.isInteger(Math.log2(size));
      if (!isPower || size < MINIMUM_SIZE[type]) {
        refuse(index, `its size, ${size}, is no power of two from ${MINIMUM_SIZE[type]} on`);
      }
      const isWide = type === "memory64";
      if (isWide && (index === BAR_COUNT - 1 || all[index + 1] !== undefined)) {
        refuse(index, "with 64 bits it takes the next place, too, which must be free");
      }
      const offset = HEADER.BAR + index * BAR_SIZE;
      const bits = type === "io"
        ? BAR_BITS.IO
        : (isWide ? BAR_BITS.MEMORY_64 : 0) | (prefetchable ? BAR_BITS.PREFETCHABLE : 0);
      const mask = ~(BigInt(size) - 1n);
      const writable = Number(BigInt.asUintN(32, mask));
      this.config.define({ offset, size: 4, value: bits, writable });
      if (!isWide) return;
      const high = Number(BigInt.asUintN(32, mask >> 32n));
      this.config.define({ offset: offset + BAR_SIZE, size: 4, writable: high });
    });
    return all;
  }

  /** The pin by which it interrupts: 1 to 4 for INTA# to INTD#, or 0 for none. */
  get pin(): number {
    return this.#pin;
  }

  /** Guest memory, for direct memory access: none as long as the guest has not made the function a bus master. */
  protected readonly memory: DeviceMemory = {
    read: (gpa, length) => this.#masteredMemory.read(gpa, length),
    write: (gpa, bytes) => this.#masteredMemory.write(gpa, bytes),
  };

  get #masteredMemory(): DeviceMemory {
    const { memory } = this.#board;
    if ((this.#command & COMMAND.BUS_MASTER) !== 0) return memory;
    throw new RangeError(`${this.name} is no bus master: its command register says so`);
  }

  /** Asserts the interrupt pin, or ends that: as long as the guest has enabled messages, nobody sees it. */
  protected setPin(asserted: boolean): void {
    this.#isAsserted = asserted;
    this.#updatePin();
  }

  /** Sends the message of a vector, where the guest has enabled MSI-X or MSI. Which of them the guest says. */
  protected signal(vector: number): void {
    if (this.hasMsix) this.#msix!.signal(vector);
    else if (this.#msi?.isEnabled === true) this.#msi.signal(vector);
  }

  /** Whether it interrupts by messages, which the guest has enabled, and not by its pin. */
  protected get hasMessages(): boolean {
    return this.hasMsix || this.#msi?.isEnabled === true;
  }

  /** Whether it interrupts by MSI-X. */
  protected get hasMsix(): boolean {
    return this.#msix?.isEnabled === true;
  }

  /** Reads the configuration space. */
  readConfig(offset: number, size: number): number {
    return this.config.get(offset, size);
  }

  /** Writes the configuration space. */
  writeConfig(offset: number, value: number, size: number): void {
    this.config.write(offset, value, size);
    const end = offset + size;
    const meets = (first: number, last: number) => offset < last && end > first;
    if (meets(HEADER.COMMAND, HEADER.STATUS) || meets(HEADER.BAR, HEADER.BAR_END)) {
      this.#host?.decodingChanged();
    }
    if (end <= HEADER.END && !meets(HEADER.COMMAND, HEADER.STATUS)) return;
    this.#msi?.written();
    this.#msix?.written();
    this.#updatePin();
  }

  /** Its BARs, and where the guest has put them. */
  get bars(): PlacedBar[] {
    return this.#bars.flatMap((bar, index) => {
      if (bar === undefined) return [];
      const offset = HEADER.BAR + index * BAR_SIZE;
      const low = this.config.get(offset, 4);
      const high = bar.type === "memory64" ? this.config.get(offset + BAR_SIZE, 4) : 0;
      const address = high * 2 ** 32 + low - low % Math.min(bar.size, 2 ** 32);
      const enable = bar.type === "io" ? COMMAND.IO : COMMAND.MEMORY;
      // As QEMU has it: at 0 is where nobody has put it.
      const isDecoded = (this.#command & enable) !== 0 && address !== 0;
      return [{ index, bar, address: isDecoded ? address : undefined }];
    });
  }

  /** Puts it on a bus. Called once. */
  attach(host: PciHost): void {
    this.#host = host;
    if (!host.isMultiFunction) return;
    this.config.define({ offset: HEADER.HEADER_TYPE, size: 1, value: MULTI_FUNCTION });
  }

  /** Puts it in the state after RST#. */
  reset(): void {
    this.config.reset();
    this.#msix?.reset();
    this.#isAsserted = false;
    this.#updatePin();
  }

  /** Its state. */
  save(): unknown {
    return { config: this.config.save(), msix: this.#msix?.save(), pin: this.#isAsserted };
  }

  /** Takes such a state. */
  restore(state: unknown): void {
    const { config, msix, pin } = state as {
      config: Uint8Array;
      msix: ReturnType<Msix["save"]> | undefined;
      pin: boolean;
    };
    this.config.restore(config);
    if (msix !== undefined) this.#msix?.restore(msix);
    this.#isAsserted = pin;
    this.#updatePin();
    this.#host?.decodingChanged();
  }

  get #command(): number {
    return this.config.get(HEADER.COMMAND, 2);
  }

  get #board(): DeviceBoard {
    if (this.#host !== undefined) return this.#host.board;
    throw new TypeError(`Cannot use the PCI function ${this.name}: it is on no bus`);
  }

  #sendMessage(address: bigint, data: number): void {
    // A message is a write to memory, which only bus masters make (6.8.3.3).
    if ((this.#command & COMMAND.BUS_MASTER) !== 0) sendMessage(this.#board, address, data);
  }

  #updatePin(): void {
    const status = this.config.get(HEADER.STATUS, 2) & ~STATUS.INTERRUPT;
    this.config.set(HEADER.STATUS, 2, status | (this.#isAsserted ? STATUS.INTERRUPT : 0));
    const isDisabled = (this.#command & COMMAND.INTERRUPT_DISABLE) !== 0;
    this.#host?.setPin(this.#isAsserted && !isDisabled && !this.hasMessages);
  }
}

function checkIsOneOf(name: string, vectors: number): void {
  if ([1, 2, 4, 8, 16, 32].includes(vectors)) return;
  throw new RangeError(
    `Cannot make MSI of the PCI function ${name}: it has 1, 2, 4, 8, 16 or 32 messages, not ${vectors}`,
  );
}
