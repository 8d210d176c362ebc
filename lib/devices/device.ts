import type { Bus } from "./bus.ts";
import type { Timers } from "./timers.ts";
import type { MmioHandler, PortHandler } from "./handlers.ts";

/**
 * A part of a board: the option `devices` of `boot` takes a list of them. Anybody can write one: a class that claims
 * its ports and addresses when it is attached.
 *
 * @example A device that counts, and interrupts
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import type { Device, DeviceBoard, InterruptLine } from "@vmexit/vmexit/devices";
 *
 * class Counter implements Device {
 *   readonly name = "counter";
 *   #line!: InterruptLine;
 *   count = 0;
 *   attach(board: DeviceBoard) {
 *     this.#line = board.interruptLine(5);
 *     board.ports.on(0x300, { name: this.name, write: (_port, value) => this.#add(value) });
 *   }
 *   reset() {
 *     this.count = 0;
 *   }
 *   #add(value: number) {
 *     this.count += value;
 *     this.#line.set(this.count >= 3);
 *   }
 * }
 * const counter = new Counter();
 * using vm = boot(asm`
 *   mov dx, 0x300
 *   mov al, 2
 *   out dx, al
 *   hlt
 * `, { devices: [counter] });
 * vm.run();
 * console.log(counter.count); // 2
 * ```
 */
export interface Device {
  /** What it is called in tables of exits and on failure pages: `"i8042"`. */
  readonly name: string;
  /**
   * Puts it on a board. Called once, before the guest runs; a device is of one machine.
   *
   * @throws {RangeError} When another device has its ports or addresses.
   */
  attach(board: DeviceBoard): void;
  /** Puts it in the state after RESET#, as at power-on. What the test has set it up with stays. */
  reset?(): void;
  /**
   * Its state, for a snapshot: data that `structuredClone` takes, and that is no longer the device's. Times in it are
   * relative; functions that the test has given are no part of it.
   */
  save?(): unknown;
  /**
   * Takes a state that {@linkcode Device.save} gave, of this device or of one that was made and set up alike: what the
   * guest does next has the same effects once more. Time is restored before, and so are the levels of its interrupt lines:
   * it sets them to what they were, without an edge.
   */
  restore?(state: unknown): void;
  /**
   * What the test has planned of it, and has not come about: a failure that was to be delivered. A run that ends so is
   * an error, unless it was to (the option `pending`).
   */
  readonly pending?: string | undefined;
  /** Lets go of what it holds of the host's. Called with the end of its machine. */
  [Symbol.dispose]?(): void;
}

/** An interrupt request line from a device to the interrupt controller. */
export interface InterruptLine {
  /** Asserts the line, or ends that. An edge is both, one after the other. Devices that share one assert it together. */
  set(asserted: boolean): void;
  /** Whether it leads to an interrupt controller. */
  readonly isConnected: boolean;
}

/** A device that takes the lines of the others, and interrupts CPU 0 by its INTR pin. */
export interface InterruptController {
  /** Takes the level of an interrupt request line. */
  setLine(irq: number, asserted: boolean): void;
  /** Whether INTR is asserted. */
  readonly hasInterrupt: boolean;
  /** Answers the CPU's interrupt acknowledge cycle with the vector. */
  acknowledge(): number;
}

/** Guest memory by one kind of address: physical, as bus masters see it, or linear. */
export interface DeviceMemory<Address extends number | bigint = number> {
  /**
   * Copies `length` bytes.
   *
   * @throws {RangeError} When no memory is there.
   */
  read(address: Address, length: number): Uint8Array<ArrayBuffer>;
  /**
   * Writes bytes.
   *
   * @throws {RangeError} When no memory is there; then none is written.
   */
  write(address: Address, bytes: Uint8Array): void;
}

/** Which accesses to a segment of ROM go to the RAM behind it. */
export interface ShadowAccess {
  /** Whether reads do. */
  readonly read: boolean;
  /** Whether writes do. */
  readonly write: boolean;
}

/** Memory of a device's own that the guest reads. Its writes there are accesses that the device takes. */
export interface DeviceRom {
  /**
   * Whether the guest reads it, and runs from it. At first it does. Where it does not, reads are accesses that the device
   * takes, too.
   */
  isShown: boolean;
  /** Copies `length` bytes. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** Writes bytes. */
  write(offset: number, bytes: Uint8Array): void;
}

/** A CPU as firmware that the host plays sees it. */
export interface DeviceCpu {
  /** Its number. */
  readonly number: number;
  /** Guest memory by linear address, through its page tables. */
  readonly linear: DeviceMemory<bigint>;
  /** The value of a register by its name: `"ax"`, `"rdi"`; of a segment register, its base. */
  get(name: string): bigint;
  /** Sets a general register, or loads a segment register as in real mode. It counts when the access is done. */
  set(name: string, value: number | bigint): void;
}

/** What a board offers its devices. */
export interface DeviceBoard {
  /** The I/O ports. */
  readonly ports: Bus<PortHandler>;
  /** The physical addresses without memory. */
  readonly mmio: Bus<MmioHandler>;
  /** Guest memory, for direct memory access. */
  readonly memory: DeviceMemory;
  /** The memory that there is, by address: not what is read-only. */
  readonly ram: readonly { readonly gpa: number; readonly size: number }[];
  /** The CPU whose access is being answered; for firmware and hypercalls, whose arguments are in its registers. */
  readonly cpu: DeviceCpu;
  /** The board's time, and what happens at some. */
  readonly timers: Timers;
  /**
   * A line to the interrupt controller: an ISA interrupt (IRQ 0 to 15), or a GSI of the IOAPIC. Where the board has no
   * interrupt controller it leads nowhere, as a pin that is not wired. A reset of the machine ends what is asserted.
   *
   * @throws {RangeError} When it is none of these.
   */
  interruptLine(irq: number): InterruptLine;
  /**
   * Sends a message-signalled interrupt (Intel SDM Vol. 3A, 11.11). Where there is no local APIC, nobody hears it.
   *
   * @returns Whether a local APIC took it.
   */
  signalMsi(address: number, data: number): boolean;
  /**
   * Makes a device the interrupt controller.
   *
   * @throws {TypeError} When there is one, or the kernel has its own, or there are several CPUs.
   */
  connectInterruptController(controller: InterruptController): void;
  /**
   * The A20 gate: whether address line 20 reaches memory. At first it is open. Closed, each odd megabyte of RAM is the
   * even one below, for the guest.
   */
  a20: boolean;
  /**
   * Says which of the guest's accesses to 0xc0000–0xfffff go to the RAM that a PC has there. At first all of them go to
   * what lies there else: ROM, or nothing. Where the machine has RAM there from the start, it stays that.
   *
   * @param segments All 16 segments of 16 KiB, the lowest first.
   */
  shadow(segments: readonly ShadowAccess[]): void;
  /**
   * Says in words what the access is that is being answered, for tables of exits: `"INT 13h AH=02h: AX 0x201"`. Accesses
   * in a row that are alike up to the colon are shown as one.
   */
  describe(text: string): void;
  /**
   * Gives the device memory that the guest reads: ROM, or flash. What the guest writes there goes to the device's handler
   * in {@linkcode DeviceBoard.mmio}.
   *
   * @throws {RangeError} When it is not made of whole pages, or other memory is there.
   */
  placeRom(gpa: number, content: Uint8Array): DeviceRom;
  /**
   * Resets the machine after the access that is being answered, as RESET# does: the SYSTEM_EVENT exit RESET. The CPUs and
   * devices are as at power-on; memory keeps its content.
   */
  reset(): void;
  /**
   * Resets the CPUs alone, as INIT# does: CPU 0 begins at its reset vector, others wait for a SIPI. Devices, memory, caches,
   * FPU and MSRs stay as they are (Intel SDM Vol. 3A, table 10-1).
   */
  init(): void;
  /** Turns the power off after the access that is being answered: the SYSTEM_EVENT exit SHUTDOWN. */
  powerOff(): void;
}
