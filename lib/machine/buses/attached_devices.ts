import type { Bus } from "../../devices/bus.ts";
import type {
  Device,
  DeviceBoard,
  DeviceCpu,
  DeviceMemory,
  DeviceRom,
  InterruptController,
  InterruptLine,
  ShadowAccess,
} from "../../devices/device.ts";
import { checkStateful, type MmioHandler, type PortHandler } from "../../devices/handlers.ts";
import type { Timers } from "../../devices/timers.ts";
import type { Vm } from "../../kvm/vm.ts";
import { SYSTEM_EVENT } from "../interrupts/system_event.ts";
import type { Interrupts } from "../interrupts/interrupts.ts";
import type { Irqchip } from "../interrupts/irqchip.ts";

/** What {@linkcode AttachedDevices} are given of their machine. */
interface AttachedDevicesInit {
  readonly ports: Bus<PortHandler>;
  readonly mmio: Bus<MmioHandler>;
  readonly memory: DeviceMemory;
  /** The memory slots, and whose address line 20 the A20 gate is. */
  readonly slots: {
    a20: boolean;
    readonly slots: readonly {
      readonly gpa: number;
      readonly size: number;
      readonly readonly: boolean;
    }[];
  };
  /** Makes memory of a device's. */
  readonly placeRom: (gpa: number, content: Uint8Array) => DeviceRom;
  /** The RAM that the host bridge shows below 1 MiB. */
  readonly shadowRam: {
    readonly segments: readonly ShadowAccess[];
    set(segments: readonly ShadowAccess[]): void;
  };
  /** The CPU of the latest exit. */
  readonly cpu: () => DeviceCpu;
  readonly timers: Timers;
  readonly vm: Vm;
  readonly irqchip: Irqchip;
  /** The controllers in the kernel, where there are any. */
  readonly interrupts: () => Interrupts;
  /** How many CPUs there are. */
  readonly cpuCount: number;
  /** Notes in words what the latest exit is. */
  readonly describe: (text: string) => void;
  /** Connects the INTR pin of CPU 0. */
  readonly connect: (controller: InterruptController) => void;
}

/** The last interrupt of a board with two 8259s, and the last GSI that KVM can be told of. */
const LAST_ISA_INTERRUPT = 15;
const LAST_GSI = 4095;

/** The state of a board's devices at some time. */
export interface AttachedState {
  /** The board's time. */
  readonly now: number;
  /** What there was. */
  readonly names: readonly string[];
  /** What each has saved. */
  readonly devices: readonly unknown[];
  /** The lines that were asserted, by their interrupt: the numbers of the lines. */
  readonly asserted: readonly (readonly [irq: number, lines: readonly number[]])[];
  /** The SYSTEM_EVENT that one had asked for. */
  readonly event: number | undefined;
  /** Which accesses went to shadow RAM. */
  readonly segments: readonly ShadowAccess[];
}

/** The devices that are on a board. */
const ATTACHED = new WeakSet<Device>();

/** The devices of a machine, and the board on which they are. */
export class AttachedDevices implements DeviceBoard, Disposable {
  /** See {@linkcode DeviceBoard.ports}. */
  readonly ports: Bus<PortHandler>;
  /** See {@linkcode DeviceBoard.mmio}. */
  readonly mmio: Bus<MmioHandler>;
  /** See {@linkcode DeviceBoard.memory}. */
  readonly memory: DeviceMemory;
  /** See {@linkcode DeviceBoard.timers}. */
  readonly timers: Timers;
  readonly #parts: AttachedDevicesInit;
  readonly #devices: Device[] = [];
  /** The lines that are asserted, by their interrupt: devices that share one pull it together. */
  readonly #asserted = new Map<number, Set<InterruptLine>>();
  /** All lines, in the order in which devices have asked for them. */
  readonly #lines: InterruptLine[] = [];
  #controller: InterruptController | undefined;
  #event: number | undefined;

  /** A board without devices. */
  constructor(parts: AttachedDevicesInit) {
    this.#parts = parts;
    this.ports = parts.ports;
    this.mmio = parts.mmio;
    this.memory = parts.memory;
    this.timers = parts.timers;
  }

  /** See {@linkcode DeviceBoard.ram}. */
  get ram(): DeviceBoard["ram"] {
    return this.#parts.slots.slots.filter(({ readonly }) => !readonly)
      .map(({ gpa, size }) => ({ gpa, size }));
  }

  /** See {@linkcode DeviceBoard.cpu}. */
  get cpu(): DeviceCpu {
    return this.#parts.cpu();
  }

  /**
   * Puts a device on the board.
   *
   * @throws {TypeError} When it is, or was, on another.
   */
  attach(device: Device): void {
    if (ATTACHED.has(device)) {
      throw new TypeError(
        `Cannot put ${device.name} on the board: it is another machine's. Make one for each`,
      );
    }
    checkStateful(device, `put ${device.name} on the board`);
    ATTACHED.add(device);
    this.#devices.push(device);
    device.attach(this);
  }

  /** Resets the devices, as RESET# does: they assert no line before that. */
  resetDevices(): void {
    this.a20 = true;
    for (const [irq, lines] of this.#asserted) {
      if (lines.size > 0) this.#drive(irq, false);
      lines.clear();
    }
    for (const device of this.#devices) device.reset?.();
  }

  /** The state of all devices, and of the board between them, for {@linkcode AttachedDevices.restore}. */
  save(): AttachedState {
    return {
      names: this.names,
      now: this.timers.now,
      devices: this.#devices.map((device) => device.save?.()),
      asserted: [...this.#asserted].filter(([, lines]) => lines.size > 0).map((
        [irq, lines],
      ) => [irq, Array.from(lines, (line) => this.#lines.indexOf(line))]),
      event: this.#event,
      segments: this.#parts.shadowRam.segments,
    };
  }

  /** The devices, and the board between them, are as they were then. */
  restore({ now, devices, asserted, event, segments }: AttachedState): void {
    this.timers.restore(now);
    this.#parts.shadowRam.set(segments);
    if (asserted.length > 0 || this.#isAsserted) this.#assert(asserted);
    for (let index = 0; index < devices.length; index++) {
      this.#devices[index].restore?.(devices[index]);
    }
    this.#event = event;
  }

  /** Whether any line is asserted. */
  get #isAsserted(): boolean {
    for (const lines of this.#asserted.values()) if (lines.size > 0) return true;
    return false;
  }

  /** Asserts the lines that were asserted then, and no others. */
  #assert(asserted: AttachedState["asserted"]): void {
    const then = new Map(asserted);
    for (const irq of new Set([...this.#asserted.keys(), ...then.keys()])) {
      const lines = new Set(then.get(irq)?.map((index) => this.#lines[index]));
      const wasAsserted = (this.#asserted.get(irq)?.size ?? 0) > 0;
      this.#asserted.set(irq, lines);
      if (lines.size > 0 !== wasAsserted) this.#drive(irq, lines.size > 0);
    }
  }

  /** What is on the board, in words. */
  get names(): readonly string[] {
    return this.#devices.map(({ name }) => `the device ${name}`);
  }

  /** Whether a device has asked for a SYSTEM_EVENT since {@linkcode AttachedDevices.takeEvent} was called last. */
  get hasEvent(): boolean {
    return this.#event !== undefined;
  }

  /** The type of the SYSTEM_EVENT that a device has asked for since the last call, if any has. */
  takeEvent(): number | undefined {
    const event = this.#event;
    this.#event = undefined;
    return event;
  }

  /** See {@linkcode DeviceBoard.interruptLine}. */
  interruptLine(irq: number): InterruptLine {
    const most = this.#parts.irqchip === false ? LAST_ISA_INTERRUPT : LAST_GSI;
    if (!Number.isInteger(irq) || irq < 0 || irq > most) {
      throw new RangeError(`Cannot wire interrupt line ${String(irq)}: there are 0 to ${most}`);
    }
    const isConnected = () => this.#parts.irqchip === true || this.#controller !== undefined;
    const line = {
      set: (asserted: boolean) => {
        if (asserted === (this.#asserted.get(irq)?.has(line) ?? false)) return;
        const lines = this.#asserted.get(irq) ?? new Set();
        const wasAsserted = lines.size > 0;
        if (asserted) lines.add(line);
        else lines.delete(line);
        this.#asserted.set(irq, lines);
        // KVM counts an edge by the levels that it is told.
        if (lines.size > 0 !== wasAsserted) this.#drive(irq, asserted);
      },
      get isConnected() {
        return isConnected();
      },
    };
    this.#lines.push(line);
    return line;
  }

  #drive(irq: number, asserted: boolean): void {
    const { irqchip, interrupts } = this.#parts;
    if (irqchip !== true) this.#controller?.setLine(irq, asserted);
    else if (asserted) interrupts().raise(irq);
    else interrupts().lower(irq);
  }

  /** See {@linkcode DeviceBoard.signalMsi}. */
  signalMsi(address: number, data: number): boolean {
    const { vm, irqchip } = this.#parts;
    return irqchip !== false && vm.interrupts.signalMsi({ address_lo: address, data }) > 0;
  }

  /** See {@linkcode DeviceBoard.connectInterruptController}. */
  connectInterruptController(controller: InterruptController): void {
    const { irqchip, cpuCount, connect } = this.#parts;
    const why = this.#controller !== undefined
      ? "the board has one"
      : irqchip !== false
      ? "the kernel has its own. Leave out the option `irqchip`, or the device"
      : cpuCount > 1
      ? "several CPUs take theirs from local APICs. Give `irqchip: true` in place of the device"
      : undefined;
    if (why !== undefined) throw new TypeError(`Cannot add an interrupt controller: ${why}`);
    this.#controller = controller;
    connect(controller);
  }

  /** See {@linkcode DeviceBoard.a20}. */
  get a20(): boolean {
    return this.#parts.slots.a20;
  }

  set a20(open: boolean) {
    this.#parts.slots.a20 = open;
  }

  /** See {@linkcode DeviceBoard.shadow}. */
  shadow(segments: readonly ShadowAccess[]): void {
    this.#parts.shadowRam.set(segments);
  }

  /** See {@linkcode DeviceBoard.describe}. */
  describe(text: string): void {
    this.#parts.describe(text);
  }

  /** What the test has planned of devices, and has not come about. */
  get pending(): string[] {
    return this.#devices.flatMap(({ pending }) => pending ?? []);
  }

  /** See {@linkcode DeviceBoard.placeRom}. */
  placeRom(gpa: number, content: Uint8Array): DeviceRom {
    return this.#parts.placeRom(gpa, content);
  }

  /** See {@linkcode DeviceBoard.reset}. */
  reset(): void {
    this.#event = SYSTEM_EVENT.RESET;
  }

  /** See {@linkcode DeviceBoard.init}. */
  init(byTest = false): void {
    // A reset of the whole machine is one of the CPUs, too.
    this.#event ??= byTest ? SYSTEM_EVENT.INIT_BY_TEST : SYSTEM_EVENT.INIT;
  }

  /** See {@linkcode DeviceBoard.powerOff}. */
  powerOff(): void {
    this.#event = SYSTEM_EVENT.SHUTDOWN;
  }

  /** Ends the devices, all of them though one fails. */
  [Symbol.dispose](): void {
    using cleanup = new DisposableStack();
    for (const device of this.#devices) cleanup.defer(() => device[Symbol.dispose]?.());
  }
}
