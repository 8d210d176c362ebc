import {
  type AddressRange,
  type Bus,
  type Device,
  type DeviceBoard,
  type DeviceCpu,
  type DeviceRom,
  type InterruptController,
  type InterruptLine,
  type MmioHandler,
  type PortHandler,
  TestClock,
} from "@vmexit/vmexit/devices";
import { Timers } from "../../lib/devices/timers.ts";

const MEMORY = 0x10_0000;

type Handler = PortHandler & MmioHandler;

/** One of its buses: who has which range. */
class BenchBus implements Bus<PortHandler>, Bus<MmioHandler> {
  ranges: { readonly first: number; readonly last: number; readonly handler: Handler }[] = [];

  on(range: AddressRange, handler: PortHandler | MmioHandler): Disposable {
    const [first, last] = typeof range === "number" ? [range, range] : range;
    if (this.ranges.some((each) => each.first <= last && first <= each.last)) {
      throw new RangeError("taken");
    }
    const entry = { first, last, handler: handler as Handler };
    this.ranges.push(entry);
    return {
      [Symbol.dispose]: () => void (this.ranges = this.ranges.filter((each) => each !== entry)),
    };
  }

  at(address: number): Handler | undefined {
    return this.ranges.find(({ first, last }) => first <= address && address <= last)?.handler;
  }
}

/** What a {@linkcode BenchBoard} has, and its devices. */
export interface BenchState {
  readonly bytes: Uint8Array;
  readonly registers: ReadonlyMap<string, bigint>;
  readonly nanoseconds: number;
  readonly devices: readonly unknown[];
  /** The lines that are asserted, by their interrupts. */
  readonly asserted: ReadonlyMap<number, readonly number[]>;
}

/** A board without a guest, for what devices do among themselves: what they do to it is in its log. */
export class BenchBoard implements DeviceBoard {
  readonly ports: BenchBus = new BenchBus();
  readonly mmio: BenchBus = new BenchBus();
  readonly clock: TestClock = new TestClock({ perExit: 0 });
  readonly timers: Timers = new Timers(this.clock);
  readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(MEMORY);
  readonly ram = [{ gpa: 0, size: MEMORY }];
  readonly registers = new Map<string, bigint>();
  readonly devices: readonly Device[];
  /** What devices have done to the board. */
  log: string[] = [];
  #a20 = true;
  #controller: InterruptController | undefined;
  readonly #asserted = new Map<number, Set<InterruptLine>>();
  readonly #lines: InterruptLine[] = [];

  constructor(devices: readonly Device[]) {
    this.devices = devices;
    for (const device of devices) device.attach(this);
  }

  readonly memory: DeviceBoard["memory"] = {
    read: (address: number, length: number) => {
      this.#check(address, length);
      return this.bytes.slice(address, address + length);
    },
    write: (address: number, bytes: Uint8Array) => {
      this.#check(address, bytes.length);
      this.bytes.set(bytes, address);
    },
  };

  readonly cpu: DeviceCpu = {
    number: 0,
    linear: {
      read: (address, length) => this.memory.read(Number(address), length),
      write: (address, bytes) => this.memory.write(Number(address), bytes),
    },
    get: (name) => {
      const value = this.registers.get(name.replace(/^e(?=..$)/, "")) ?? 0n;
      return /^e..|^.s$/.test(name) ? value : value & 0xffffn;
    },
    set: (name, value) => {
      const isSegment = /^.s$/.test(name);
      this.registers.set(
        name.replace(/^e(?=..$)/, ""),
        BigInt(value) << (isSegment ? 4n : 0n),
      );
    },
  };

  #check(address: number, length: number): void {
    if (!(address >= 0 && length >= 0 && address + length <= MEMORY)) {
      throw new RangeError("no memory");
    }
  }

  interruptLine(irq: number): InterruptLine {
    const line: InterruptLine = {
      isConnected: true,
      set: (asserted) => {
        const lines = this.#asserted.get(irq) ?? new Set();
        const before = lines.size > 0;
        if (asserted) lines.add(line);
        else lines.delete(line);
        this.#asserted.set(irq, lines);
        if (before === lines.size > 0) return;
        this.log.push(`IRQ ${irq} ${asserted}`);
        this.#controller?.setLine(irq, asserted);
      },
    };
    this.#lines.push(line);
    return line;
  }

  signalMsi(address: number, data: number): boolean {
    this.log.push(`MSI ${address} ${data}`);
    return true;
  }

  connectInterruptController(controller: InterruptController): void {
    this.#controller = controller;
  }

  get a20(): boolean {
    return this.#a20;
  }
  set a20(isOpen: boolean) {
    if (isOpen !== this.#a20) this.log.push(`A20 ${isOpen}`);
    this.#a20 = isOpen;
  }

  shadow(segments: readonly unknown[]): void {
    this.log.push(`shadow ${JSON.stringify(segments)}`);
  }

  placeRom(_gpa: number, content: Uint8Array): DeviceRom {
    const bytes = content.slice();
    const say = (text: string) => void this.log.push(text);
    let isShown = true;
    return {
      get isShown() {
        return isShown;
      },
      set isShown(shown) {
        if (shown !== isShown) say(`ROM ${shown}`);
        isShown = shown;
      },
      read: (offset, length) => bytes.slice(offset, offset + length),
      write: (offset, written) => bytes.set(written, offset),
    };
  }

  reset(): void {
    this.log.push("reset");
  }

  init(): void {
    this.log.push("INIT");
  }

  describe(text: string): void {
    this.log.push(text);
  }

  powerOff(): void {
    this.log.push("power off");
  }

  /** The CPU's interrupt acknowledge cycle, where INTR is asserted. */
  acknowledge(): number | undefined {
    return this.#controller?.hasInterrupt ? this.#controller.acknowledge() : undefined;
  }

  /** Lets time pass. */
  pass(nanoseconds: number): void {
    const end = this.clock.nanoseconds + nanoseconds;
    while (this.timers.next !== undefined && this.timers.next <= end) {
      this.clock.passUntil(this.timers.next);
      this.timers.expire();
    }
    this.clock.passUntil(end);
  }

  /** All of it, as a snapshot of a machine has it. */
  save(): BenchState {
    return structuredClone({
      bytes: this.bytes,
      registers: this.registers,
      nanoseconds: this.clock.nanoseconds,
      devices: this.devices.map((device) => device.save?.()),
      asserted: new Map(
        [...this.#asserted].filter(([, { size }]) => size > 0).map(([irq, lines]) => [
          irq,
          [...lines].map((line) => this.#lines.indexOf(line)),
        ]),
      ),
    });
  }

  /**
   * Takes such a state, of another board with the same devices as well: memory, time and lines first, then the devices,
   * which change no line by that.
   */
  restore(state: BenchState, nanoseconds: number): void {
    const { bytes, registers, devices, asserted } = structuredClone(state);
    this.bytes.set(bytes);
    this.registers.clear();
    for (const [name, value] of registers) this.registers.set(name, value);
    this.clock.nanoseconds = nanoseconds;
    this.#asserted.clear();
    for (const [irq, lines] of asserted) {
      this.#asserted.set(irq, new Set(lines.map((index) => this.#lines[index])));
    }
    this.log = [];
    for (const [index, device] of this.devices.entries()) device.restore?.(devices[index]);
    const edges = this.log.filter((each) => each.startsWith("IRQ"));
    if (edges.length > 0) throw new Error(`An edge when it was restored: ${edges.join(", ")}`);
    this.log = [];
  }
}
