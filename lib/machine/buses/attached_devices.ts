import type { Bus } from "../../devices/bus.ts";
import type {
  Device,
  DeviceBoard,
  DeviceCpu,
  DeviceMemory,
  InterruptController,
  InterruptLine,
  ShadowAccess,
} from "../../devices/device.ts";
import type { MmioHandler, PortHandler } from "../../devices/handlers.ts";
import type { Timers } from "../../devices/timers.ts";
import { KVM_SYSTEM_EVENT } from "../../kvm/abi/constants.ts";
import type { Vm } from "../../kvm/vm.ts";
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
  /** The RAM that the host bridge shows below 1 MiB. */
  readonly shadowRam: { set(segments: readonly ShadowAccess[]): void };
  /** The CPU of the latest exit. */
  readonly cpu: () => DeviceCpu;
  readonly timers: Timers;
  readonly vm: Vm;
  readonly irqchip: Irqchip;
  /** How many CPUs there are. */
  readonly cpuCount: number;
  /** Connects the INTR pin of CPU 0. */
  readonly connect: (controller: InterruptController) => void;
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
    ATTACHED.add(device);
    this.#devices.push(device);
    device.attach(this);
  }

  /** Resets the devices, as RESET# does. */
  resetDevices(): void {
    for (const device of this.#devices) device.reset?.();
  }

  /** The type of the SYSTEM_EVENT that a device has asked for since the last call, if any has. */
  takeEvent(): number | undefined {
    const event = this.#event;
    this.#event = undefined;
    return event;
  }

  /** See {@linkcode DeviceBoard.interruptLine}. */
  interruptLine(irq: number): InterruptLine {
    const { vm, irqchip } = this.#parts;
    let level = false;
    return {
      set: (asserted) => {
        // KVM counts an edge by the levels that it is told.
        if (asserted === level) return;
        level = asserted;
        if (irqchip === true) vm.interrupts.irqLine(irq, asserted ? 1 : 0);
        else this.#controller?.setLine(irq, asserted);
      },
    };
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

  /** See {@linkcode DeviceBoard.reset}. */
  reset(): void {
    this.#event = KVM_SYSTEM_EVENT.RESET;
  }

  /** See {@linkcode DeviceBoard.powerOff}. */
  powerOff(): void {
    this.#event = KVM_SYSTEM_EVENT.SHUTDOWN;
  }

  /** Ends the devices, all of them though one fails. */
  [Symbol.dispose](): void {
    using cleanup = new DisposableStack();
    for (const device of this.#devices) cleanup.defer(() => device[Symbol.dispose]?.());
  }
}
