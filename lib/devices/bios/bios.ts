import { checkOptions, type NamesOf } from "../../x86/defined_entries.ts";
import { hex } from "../../x86/hex.ts";
import { BIOS, PORT, REAL_MODE } from "../../x86/layout.ts";
import type { Device, DeviceBoard } from "../device.ts";
import { Disk } from "../disk.ts";
import { asyncError, isPromise } from "../handlers.ts";
import type { TextScreen } from "../text_screen.ts";
import { BiosCall, callText, checkCanFail, serviceName } from "./call.ts";
import { BiosDataArea } from "./data_area.ts";
import { DiskServices, FIXED_DISK } from "./disk_services.ts";
import type { BiosQuirks } from "./quirks.ts";
import { scanCodeOf } from "./keys.ts";
import { SystemServices } from "./system_services.ts";
import { VideoServices } from "./video_services.ts";

/** What a {@linkcode Bios} has. */
export interface BiosOptions {
  /** Disks by their numbers: 0 and 1 are floppy disks, 0x80 and up fixed disks. */
  readonly disks?: Readonly<Record<number, Disk>>;
  /** The screen of INT 10h; without it the guest has a serial line at the most. */
  readonly screen?: TextScreen;
  /** Keys that wait for INT 16h. More by {@linkcode Bios.type}. */
  readonly keys?: string;
  /** The date and time of INT 1Ah. Default 1 January 2000, 0:00. */
  readonly date?: Date;
  /** What it does otherwise than most. */
  readonly quirks?: BiosQuirks;
}

const NAMES: NamesOf<BiosOptions> = {
  disks: "value",
  screen: "value",
  keys: "value",
  date: "value",
  quirks: "value",
};

const QUIRK_NAMES: NamesOf<BiosQuirks> = {
  enablesInterrupts: "flag",
  trashesRegisters: "flag",
  hasNoExtensions: "flag",
  hasNoE820: "flag",
  shortE820: "flag",
  failsReadsEvery: "value",
};

/** A call of a service, as the test sees it. */
export interface BiosCallRecord {
  /** The vector. */
  readonly vector: number;
  /** Its name: `"INT 13h AH=02h"`. */
  readonly name: string;
  /** Registers at the call. */
  readonly registers: BiosCall["registers"];
  /** AX afterwards. */
  readonly ax: number;
  /** Whether the service is one that this BIOS has. */
  readonly isKnown: boolean;
}

/** A service that fails: its vector, its function, its status, and how often. */
interface Failure {
  readonly vector: number;
  readonly ah: number;
  readonly status: number;
  times: number;
}

interface State {
  readonly calls: readonly BiosCallRecord[];
  readonly failures: readonly Failure[];
  readonly keys: readonly number[];
  readonly reads: number;
  readonly printed: string;
  readonly diskStatus: number;
  readonly elapsed: number;
  readonly disks: ReadonlyMap<number, unknown>;
}

/** A handler of the test's for a vector. It returns true where it has answered. */
export type BiosHandler = (call: BiosCall) => boolean | void;

/** Vectors with services. */
const VECTOR = {
  VIDEO: 0x10,
  EQUIPMENT: 0x11,
  MEMORY: 0x12,
  DISK: 0x13,
  SERIAL: 0x14,
  SYSTEM: 0x15,
  KEYBOARD: 0x16,
  PRINTER: 0x17,
  NO_BOOT: 0x18,
  BOOT: 0x19,
  CLOCK: 0x1a,
} as const;

const TIMER_TICK = 0x08;
const FIRST_SERVICE = VECTOR.VIDEO;
const LAST_SERVICE = VECTOR.CLOCK;
const LAST_CATCHER = 0xf;

const VECTORS = 256;
const STUB_SIZE = 4;
const POINTER_SIZE = 4;
const PARAGRAPH = 16;

/** `out imm8, al` · `iret` */
const stub = (port: number) => Uint8Array.of(0xe6, port, 0xcf, 0x90);
/** `iret` */
const RETURN = Uint8Array.of(0xcf, 0x90, 0x90, 0x90);

/** In the BIOS data area. */
const DATA = { SERIAL: 0x00, EQUIPMENT: 0x10, MEMORY: 0x13, TICKS: 0x6c, DISKS: 0x75 } as const;

/** Bits of the equipment word. */
const EQUIPMENT = { FLOPPY: 0x1, FPU: 0x2, COLOR_80: 0x20, SERIAL: 0x200 } as const;

const KIB = 1024;
const UNSUPPORTED = 0x86;
const GARBAGE = 0xdead_0000;

/**
 * The services of a PC's BIOS, for boot sectors and loaders: each `int` of a service leads to a stub whose exit the host
 * answers. INT 10h (text), 11h, 12h, 13h (by cylinder, and the extensions), 15h (E820, E801, 88h, 86h, 87h, 24h, C0h),
 * 16h, 1Ah; 18h and 19h turn the power off, since there is nothing more to boot. Calls are in {@linkcode Bios.calls};
 * one can be answered by the test ({@linkcode Bios.on}) or made to fail ({@linkcode Bios.fails}).
 *
 * Left out: graphics, APM, PCI and serial services, and the interrupt handlers of the hardware but that of the timer
 * (Phoenix, "System BIOS for IBM PCs, Compatibles, and EISA Computers"; "Enhanced Disk Drive Specification" 1.1; ACPI
 * 6.5, 15). A service that there is not fails by CF with AH=86h.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Bios, Disk } from "@vmexit/vmexit/devices";
 *
 * const disk = new Disk(new TextEncoder().encode("sector 0"));
 * using vm = boot(asm`
 *   mov ax, 0x0201
 *   mov cx, 1
 *   mov dx, 0x80
 *   mov bx, 0x8000
 *   int 0x13
 *   hlt
 * `, { devices: [new Bios({ disks: { 0x80: disk } })] });
 * vm.run();
 * console.log(new TextDecoder().decode(vm.memory.read(0x8000, 8))); // sector 0
 * ```
 */
export class Bios implements Device {
  /** See {@linkcode Device.name}. */
  readonly name = "BIOS";
  readonly #options: BiosOptions;
  readonly #disks: ReadonlyMap<number, Disk>;
  #calls: BiosCallRecord[] = [];
  readonly #handlers = new Map<number, BiosHandler>();
  #failures: Failure[] = [];
  /** What answers the call that waits, in place of the service. */
  #override: ((call: BiosCall) => void) | undefined;
  #keys: number[] = [];
  #reads = 0;
  #board!: DeviceBoard;
  #data!: BiosDataArea;
  #video: VideoServices | undefined;
  #disk!: DiskServices;
  #system!: SystemServices;

  /**
   * A BIOS that is to be put on a board.
   *
   * @throws {TypeError} When there is no such option or quirk, or a disk is none.
   * @throws {RangeError} When a drive has a number that none can have, or a key is none of a keyboard's.
   */
  constructor(options: BiosOptions = {}) {
    checkOptions("make a BIOS", options, NAMES);
    const { disks = {}, keys = "", quirks = {} } = options;
    checkOptions("make a BIOS", quirks, QUIRK_NAMES, "quirks");
    this.#options = options;
    this.#disks = new Map(Object.entries(disks).map(([drive, disk]) => [Number(drive), disk]));
    for (const [drive, disk] of this.#disks) {
      if (!(disk instanceof Disk)) {
        throw new TypeError(
          `Cannot make drive ${drive} of ${String(disk)}: give it a disk, new Disk(bytes)`,
        );
      }
      if (Number.isInteger(drive) && drive >= 0 && drive <= 0xff) continue;
      throw new RangeError(`Cannot make drive ${drive}: drives have the numbers 0 to 0xff`);
    }
    const { date, quirks: { failsReadsEvery: every = 1 } = {} } = options;
    if (date !== undefined && !(date instanceof Date && !Number.isNaN(date.getTime()))) {
      throw new TypeError(`Cannot make a BIOS with the date ${String(date)}: give a Date`);
    }
    if (!Number.isSafeInteger(every) || every < 1) {
      throw new RangeError(
        `Cannot fail every read but ${String(every)}: failsReadsEvery is a number from 1 on`,
      );
    }
    this.type(keys);
  }

  /** The calls that the guest has made, in order. */
  get calls(): readonly BiosCallRecord[] {
    return this.#calls;
  }

  /** What the guest has printed by INT 10h, AH=0Eh and 13h, whether it has scrolled away or not. */
  get printed(): string {
    return this.#video?.printed ?? "";
  }

  /**
   * Types on the keyboard: INT 16h gives the keys one by one.
   *
   * @throws {RangeError} When a character is none of a US keyboard's.
   */
  type(text: string): void {
    this.#keys.push(...Array.from(text, scanCodeOf));
  }

  /** Hands the calls of a vector to `handler`; those that it does not answer are this BIOS's. */
  on(vector: number, handler: BiosHandler): void {
    this.#checkVector("handle", vector);
    this.#handlers.set(vector, handler);
  }

  /**
   * Makes the next calls of a function fail, by CF and the status in AH. A run that ends before they are made is an error.
   * In a transcript, `int13({ ah: 0x02 }).fails(0x04)` says it where it happens.
   *
   * @param times How many. Default 1.
   */
  fails(vector: number, ah: number, status: number, times: number = 1): void {
    this.#checkVector("fail", vector);
    checkCanFail(vector, status);
    if (!Number.isInteger(ah) || ah < 0 || ah > 0xff) {
      throw new RangeError(`Cannot make the function ${ah} fail: AH takes 0 to 0xff`);
    }
    if (!Number.isSafeInteger(times) || times < 1) {
      throw new RangeError(`Cannot make a service fail ${times} times: it is no number from 1 on`);
    }
    this.#failures.push({ vector, ah, status, times });
  }

  /** See {@linkcode Device.pending}. */
  get pending(): string | undefined {
    const waiting = this.#failures.filter(({ times }) => times > 0);
    if (waiting.length === 0) return undefined;
    return waiting.map(({ vector, ah, status, times }) =>
      `${serviceName(vector, ah)} was to fail by ${hex(status)}${
        times === 1 ? "" : ` ${times} times more`
      }, and the guest has not called it`
    ).join("; ");
  }

  /** The call whose stub the CPU is in, before it is answered; undefined where it is in none. */
  get waiting(): BiosCall | undefined {
    const vector = this.#vector;
    return vector === undefined || vector === TIMER_TICK
      ? undefined
      : new BiosCall(this.#board, vector);
  }

  /**
   * Has the call that waits answered by `answer`, in place of the service.
   *
   * @throws {TypeError} When none waits.
   */
  answerWaiting(answer: (call: BiosCall) => void): void {
    if (this.waiting === undefined) {
      throw new TypeError("Cannot answer a call of the BIOS: the guest has made none that waits");
    }
    this.#override = answer;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#board = board;
    this.#data = new BiosDataArea(board.memory);
    this.#writeStubs();
    this.#writeDataArea();
    board.ports.on(PORT.bios, { name: this.name, write: () => this.#answer() });
    const { quirks = {}, date = new Date(2000, 0, 1) } = this.#options;
    this.#system = new SystemServices(board, quirks, date);
    this.reset();
  }

  /** Begins anew: the screen is cleared. Keys, handlers and failures stay. */
  reset(): void {
    const { screen, quirks = {} } = this.#options;
    const { memory } = this.#board;
    this.#video = screen === undefined ? undefined : new VideoServices(screen, memory);
    this.#disk = new DiskServices(this.#disks, quirks.hasNoExtensions !== true, memory);
  }

  /** See {@linkcode Device.save}. The screen, and what the guest's memory has, are saved by themselves. */
  save(): unknown {
    return structuredClone(
      {
        calls: this.#calls,
        failures: this.#failures,
        keys: this.#keys,
        reads: this.#reads,
        printed: this.printed,
        diskStatus: this.#disk.status,
        elapsed: this.#system.elapsed,
        disks: new Map([...this.#disks].map(([drive, disk]) => [drive, disk.save()])),
      } satisfies State,
    );
  }

  /** See {@linkcode Device.restore}. Handlers stay. */
  restore(state: unknown): void {
    const { calls, failures, keys, reads, printed, diskStatus, elapsed, disks } = structuredClone(
      state as State,
    );
    this.#calls = [...calls];
    this.#failures = [...failures];
    this.#keys = [...keys];
    this.#reads = reads;
    if (this.#video !== undefined) this.#video.printed = printed;
    this.#disk.status = diskStatus;
    this.#system.elapsed = elapsed;
    for (const [drive, disk] of disks) this.#disks.get(drive)!.restore(disk);
  }

  /** Stubs and vectors; those that the guest was booted with stay, but for its fault catcher's. */
  #writeStubs(): void {
    const { memory } = this.#board;
    const base = BIOS.segment * PARAGRAPH + BIOS.stubs;
    for (let vector = 0; vector < VECTORS; vector++) {
      const isService = vector >= FIRST_SERVICE && vector <= LAST_SERVICE || vector === TIMER_TICK;
      const entry = REAL_MODE.interruptVectorTable + vector * POINTER_SIZE;
      const pointer = new DataView(memory.read(entry, POINTER_SIZE).buffer);
      const target = pointer.getUint16(2, true) * PARAGRAPH + pointer.getUint16(0, true);
      const catcher = target - REAL_MODE.faultStubs;
      const isCatcher = catcher >= 0 && catcher <= LAST_CATCHER;
      memory.write(base + vector * STUB_SIZE, isService ? stub(PORT.bios) : RETURN);
      if (target !== 0 && !(isCatcher && isService)) continue;
      const offset = BIOS.stubs + vector * STUB_SIZE;
      pointer.setUint16(0, offset, true);
      pointer.setUint16(2, BIOS.segment, true);
      memory.write(entry, new Uint8Array(pointer.buffer));
    }
  }

  #writeDataArea(): void {
    const floppies = [...this.#disks.keys()].filter((drive) => drive < FIXED_DISK).length;
    const equipment = EQUIPMENT.FPU | EQUIPMENT.COLOR_80 | EQUIPMENT.SERIAL |
      (floppies === 0 ? 0 : EQUIPMENT.FLOPPY | (floppies - 1) << 6);
    this.#data.set(DATA.SERIAL, PORT.com1);
    this.#data.set(DATA.EQUIPMENT, equipment);
    this.#data.set(DATA.MEMORY, BIOS.conventionalEnd / KIB);
    this.#data.set(DATA.DISKS, this.#disks.size - floppies);
  }

  #answer(): void {
    const vector = this.#vector;
    if (vector === undefined) {
      throw new RangeError(
        `Cannot take a call of the BIOS: the guest wrote to its port 0x${
          PORT.bios.toString(16)
        } outside of its stubs`,
      );
    }
    if (vector === TIMER_TICK) return this.#tick();
    const call = new BiosCall(this.#board, vector);
    const { registers } = call;
    const isKnown = this.#serve(call);
    if (!isKnown && vector !== VECTOR.VIDEO) call.result(UNSUPPORTED);
    const { enablesInterrupts, trashesRegisters } = this.#options.quirks ?? {};
    if (enablesInterrupts) call.interrupts = true;
    if (trashesRegisters) this.#trash(call);
    const { name } = call;
    this.#calls.push({ vector, name, registers, ax: call.get("ax"), isKnown });
    this.#board.describe(callText(call, registers));
  }

  /** That of the stub that the CPU is in; undefined where it is in none. */
  get #vector(): number | undefined {
    const { cpu } = this.#board;
    const vector = Math.floor((Number(cpu.get("ip")) - BIOS.stubs) / STUB_SIZE);
    const isStub = Number(cpu.get("cs")) === BIOS.segment * PARAGRAPH && vector >= 0 &&
      vector < VECTORS;
    return isStub ? vector : undefined;
  }

  /** Answers a call. False where there is no such service. */
  #serve(call: BiosCall): boolean {
    const override = this.#override;
    this.#override = undefined;
    if (override !== undefined) return override(call), true;
    const failure = this.#failures.find(({ vector, ah, times }) =>
      times > 0 && vector === call.vector && ah === call.ah
    );
    if (failure !== undefined) {
      failure.times--;
      call.result(failure.status);
      return true;
    }
    const answer: unknown = this.#handlers.get(call.vector)?.(call);
    if (isPromise(answer)) throw asyncError(answer, `answer the service ${call.vector}`);
    if (answer === true) return true;
    switch (call.vector) {
      case VECTOR.VIDEO:
        return this.#video?.answer(call) ?? false;
      case VECTOR.EQUIPMENT:
        call.set("ax", this.#data.get(DATA.EQUIPMENT));
        return true;
      case VECTOR.MEMORY:
        call.set("ax", this.#data.get(DATA.MEMORY));
        return true;
      case VECTOR.DISK:
        if (!this.#failsRead(call)) this.#disk.answer(call);
        return true;
      case VECTOR.SYSTEM:
        return this.#system.answer(call);
      case VECTOR.KEYBOARD:
        return this.#keyboard(call);
      case VECTOR.CLOCK:
        return this.#system.answerClock(call);
      case VECTOR.NO_BOOT:
      case VECTOR.BOOT:
        this.#board.powerOff();
        return true;
      default:
        return false;
    }
  }

  /** The quirk of a drive that is not ready at once. */
  #failsRead(call: BiosCall): boolean {
    const every = this.#options.quirks?.failsReadsEvery;
    if (every === undefined || (call.ah !== 0x02 && call.ah !== 0x42)) return false;
    if (++this.#reads % every !== 0) return false;
    call.result(0x80);
    return true;
  }

  #keyboard(call: BiosCall): boolean {
    const [key] = this.#keys;
    switch (call.ah & ~0x10) {
      case 0x00:
        if (key === undefined) {
          throw new RangeError(
            "Cannot give the guest a key: it waits for one (INT 16h), and the test has typed no more. " +
              "Type by bios.type(…), or the option `keys`.",
          );
        }
        this.#keys.shift();
        call.set("ax", key);
        return true;
      case 0x01:
        call.zero = key === undefined;
        if (key !== undefined) call.set("ax", key);
        return true;
      case 0x02:
        call.setLow("ax", 0);
        return true;
      default:
        return false;
    }
  }

  #tick(): void {
    const bytes = this.#board.memory.read(BIOS.dataArea + DATA.TICKS, 4);
    const ticks = new DataView(bytes.buffer);
    ticks.setUint32(0, ticks.getUint32(0, true) + 1, true);
    this.#board.memory.write(BIOS.dataArea + DATA.TICKS, bytes);
  }

  #trash(call: BiosCall): void {
    for (const name of ["ax", "bx", "cx", "dx"] as const) {
      const isResult = call.vector === VECTOR.SYSTEM;
      if (!isResult) call.setWide(name, GARBAGE | call.get(name));
    }
    if (call.vector !== VECTOR.VIDEO) return;
    for (const name of ["bp", "si", "di"] as const) call.set(name, GARBAGE >>> 16);
  }

  #checkVector(verb: string, vector: number): void {
    if (vector >= FIRST_SERVICE && vector <= LAST_SERVICE) return;
    throw new RangeError(
      `Cannot ${verb} the service ${vector}: there are 0x${FIRST_SERVICE.toString(16)} to 0x${
        LAST_SERVICE.toString(16)
      }`,
    );
  }
}
