import { PORT } from "../../x86/layout.ts";
import { GEOMETRY, type Geometry, identifyData } from "./identify.ts";
import {
  COMMAND,
  COMMAND_BLOCK_PORTS,
  CONTROL,
  DEVICE,
  DIAGNOSTIC_PASSED,
  ERROR,
  FEATURE,
  MAXIMUM_MULTIPLE,
  PIO_MODES,
  POWER_MODE_ACTIVE,
  READY,
  REGISTER,
  STATUS,
  type TransferKind,
  TRANSFERS,
} from "./registers.ts";
import { byteOf, joinBytes, ones } from "../bytes.ts";
import type { Device, DeviceBoard, InterruptLine } from "../device.ts";
import { type Disk, SECTOR_SIZE } from "../disk.ts";

/** The primary channel's interrupt (IRQ 14). */
const IRQ = 14;

/** A transfer through the data register. */
interface Transfer extends Pick<TransferKind, "isWrite" | "isExtended"> {
  /** The next sector. */
  lba: number;
  /** How many sectors are left, with those in the buffer. */
  left: number;
  /** How many sectors make a block: DRQ is asserted once for each block. */
  readonly block: number;
}

/** All that a reset changes. */
interface State {
  /** What the registers hold, and what they held before (for 48-bit addresses). */
  readonly registers: Uint8Array<ArrayBuffer>;
  readonly previous: Uint8Array<ArrayBuffer>;
  status: number;
  error: number;
  control: number;
  isInterrupting: boolean;
  multiple: number;
  hasWriteCache: boolean;
  hasLookAhead: boolean;
  geometry: Geometry;
  transfer: Transfer | undefined;
  buffer: Uint8Array<ArrayBuffer>;
  position: number;
}

function stateAfterReset(): State {
  return {
    registers: Uint8Array.of(0, 0, 1, 1, 0, 0, 0, 0),
    previous: new Uint8Array(COMMAND_BLOCK_PORTS),
    status: READY,
    error: DIAGNOSTIC_PASSED,
    control: 0,
    isInterrupting: false,
    multiple: 0,
    hasWriteCache: true,
    hasLookAhead: true,
    geometry: GEOMETRY,
    transfer: undefined,
    buffer: new Uint8Array(),
    position: 0,
  };
}

/**
 * An ATA disk as device 0 of the primary channel (ATA/ATAPI-6, T13/1410D): the PIO commands, with LBA of 28 and 48 bits
 * and CHS, at ports 0x1f0 to 0x1f7 and 0x3f6, with IRQ 14. Device 1 is absent, as 9.16.1 says. Commands are done at once:
 * BSY is seen as long as SRST is set alone.
 *
 * A bad sector of the {@linkcode Disk} gives UNC to reads and IDNF to writes; a sector behind its end IDNF.
 *
 * Left out: DMA, the packet, security, SMART, host protected area and power-up-in-standby feature sets.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Disk, IdeDisk } from "@vmexit/vmexit/devices";
 *
 * const disk = new Disk(new TextEncoder().encode("ATA"));
 * using vm = boot(asm`
 *   mov dx, 0x1f6
 *   mov al, 0xe0        ; LBA
 *   out dx, al
 *   mov dx, 0x1f2
 *   mov al, 1           ; one sector
 *   out dx, al
 *   mov al, 0           ; sector 0
 *   inc dx
 *   out dx, al
 *   inc dx
 *   out dx, al
 *   inc dx
 *   out dx, al
 *   mov dx, 0x1f7
 *   mov al, 0x20        ; READ SECTORS
 *   out dx, al
 *   mov dx, 0x1f0
 *   mov di, 0x7000
 *   mov cx, 256
 *   rep insw
 *   hlt
 * `, { devices: [new IdeDisk(disk)] });
 * vm.run();
 * console.log(vm.memory.string(0x7000)); // ATA
 * ```
 */
export class IdeDisk implements Device {
  /** The name in tables of exits. */
  readonly name = "IDE";
  /** The disk. */
  readonly disk: Disk;
  #line!: InterruptLine;
  #state = stateAfterReset();

  /** A controller with one disk. */
  constructor(disk: Disk) {
    this.disk = disk;
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    this.#line = board.interruptLine(IRQ);
    board.ports.on([PORT.ata, PORT.ata + COMMAND_BLOCK_PORTS - 1], {
      name: this.name,
      read: (port, size) => {
        const register = port - PORT.ata;
        if (register === REGISTER.DATA) return this.#readData(size);
        return joinBytes(size, (index) => this.#read(register + index));
      },
      write: (port, value, size) => {
        const register = port - PORT.ata;
        if (register === REGISTER.DATA) return this.#writeData(value, size);
        for (let index = 0; index < size; index++) {
          this.#write(register + index, byteOf(value, index));
        }
      },
    });
    board.ports.on(PORT.ataControl, {
      name: `${this.name} control`,
      read: (_port, size) => joinBytes(size, (index) => index === 0 ? this.#status : 0xff),
      write: (_port, value) => this.#control(value & 0xff),
    });
  }

  /** See {@linkcode Device.reset}. */
  reset(): void {
    this.#state = stateAfterReset();
    this.#setLine();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return { state: structuredClone(this.#state), disk: this.disk.save() };
  }

  /** See {@linkcode Device.restore}. */
  restore(saved: unknown): void {
    const { state, disk } = saved as { state: State; disk: unknown };
    this.#state = structuredClone(state);
    this.disk.restore(disk);
    this.#setLine();
  }

  /** Whether the absent device 1 is selected: device 0 answers for it. */
  get #isOther(): boolean {
    return (this.#state.registers[REGISTER.DEVICE] & DEVICE.DEV) !== 0;
  }

  get #status(): number {
    return this.#isOther ? 0 : this.#state.status;
  }

  #read(register: number): number {
    const { registers, previous, control, error } = this.#state;
    switch (register) {
      case REGISTER.ERROR:
        return error;
      case REGISTER.SECTOR_COUNT:
      case REGISTER.LBA_LOW:
      case REGISTER.LBA_MID:
      case REGISTER.LBA_HIGH:
        return ((control & CONTROL.HOB) !== 0 ? previous : registers)[register];
      case REGISTER.DEVICE:
        return registers[register] | DEVICE.OBSOLETE;
      case REGISTER.STATUS:
        if (!this.#isOther) this.#interrupt(false);
        return this.#status;
      default:
        return 0xff;
    }
  }

  #write(register: number, value: number): void {
    const state = this.#state;
    if ((state.status & STATUS.BSY) !== 0) return;
    state.control &= ~CONTROL.HOB;
    if (register > REGISTER.STATUS) return;
    if (register === REGISTER.STATUS) return this.#command(value);
    state.previous[register] = state.registers[register];
    state.registers[register] = value;
    if (register === REGISTER.DEVICE) this.#setLine();
  }

  #control(value: number): void {
    const state = this.#state;
    const wasReset = (state.control & CONTROL.SRST) !== 0;
    state.control = value;
    if ((value & CONTROL.SRST) !== 0) {
      state.status = STATUS.BSY;
      state.transfer = undefined;
      state.isInterrupting = false;
    } else if (wasReset) {
      // What SET FEATURES and SET MULTIPLE MODE set may stay over a software reset (8.47.17): here it does.
      const { multiple, hasWriteCache, hasLookAhead, geometry, control } = state;
      const kept = { multiple, hasWriteCache, hasLookAhead, geometry, control };
      this.#state = { ...stateAfterReset(), ...kept };
    }
    this.#setLine();
  }

  #interrupt(asserted: boolean): void {
    this.#state.isInterrupting = asserted;
    this.#setLine();
  }

  #setLine(): void {
    const { isInterrupting, control } = this.#state;
    this.#line.set(isInterrupting && (control & CONTROL.N_IEN) === 0 && !this.#isOther);
  }

  #command(command: number): void {
    const state = this.#state;
    if (command === COMMAND.EXECUTE_DEVICE_DIAGNOSTIC) {
      const { control } = state;
      // It selects device 0 (8.9), and keeps what was set up.
      this.#state = { ...state, ...signature(), control };
      return this.#interrupt(true);
    }
    if (this.#isOther) return;
    state.transfer = undefined;
    state.error = 0;
    state.status = READY;
    this.#interrupt(false);
    const kind = TRANSFERS[command];
    if (kind !== undefined) return this.#start(kind);
    switch (command) {
      case COMMAND.READ_VERIFY:
      case COMMAND.READ_VERIFY_WITHOUT_RETRY:
        return this.#verify(false);
      case COMMAND.READ_VERIFY_EXT:
        return this.#verify(true);
      case COMMAND.IDENTIFY_DEVICE:
        state.buffer = identifyData(this.disk.sectors, { ...state, maximum: MAXIMUM_MULTIPLE });
        return this.#request(true);
      case COMMAND.SET_MULTIPLE_MODE:
        return this.#setMultiple(state.registers[REGISTER.SECTOR_COUNT]);
      case COMMAND.SET_FEATURES:
        return this.#setFeatures(state.registers[REGISTER.ERROR]);
      case COMMAND.INITIALIZE_DEVICE_PARAMETERS: {
        const sectors = state.registers[REGISTER.SECTOR_COUNT];
        if (sectors === 0) return this.#fail(ERROR.ABRT);
        const heads = (state.registers[REGISTER.DEVICE] & DEVICE.HEAD) + 1;
        state.geometry = { heads, sectors };
        return this.#interrupt(true);
      }
      case COMMAND.CHECK_POWER_MODE:
        state.registers[REGISTER.SECTOR_COUNT] = POWER_MODE_ACTIVE;
        return this.#interrupt(true);
      case COMMAND.RECALIBRATE:
      case COMMAND.SEEK:
      case COMMAND.STANDBY_IMMEDIATE:
      case COMMAND.IDLE_IMMEDIATE:
      case COMMAND.STANDBY:
      case COMMAND.IDLE:
      case COMMAND.FLUSH_CACHE:
      case COMMAND.FLUSH_CACHE_EXT:
        return this.#interrupt(true);
      default:
        return this.#fail(ERROR.ABRT);
    }
  }

  #setMultiple(count: number): void {
    const isPowerOfTwo = (count & (count - 1)) === 0;
    if (count > MAXIMUM_MULTIPLE || !isPowerOfTwo) return this.#fail(ERROR.ABRT);
    this.#state.multiple = count;
    this.#interrupt(true);
  }

  #setFeatures(feature: number): void {
    const state = this.#state;
    switch (feature) {
      case FEATURE.ENABLE_WRITE_CACHE:
      case FEATURE.DISABLE_WRITE_CACHE:
        state.hasWriteCache = feature === FEATURE.ENABLE_WRITE_CACHE;
        break;
      case FEATURE.ENABLE_LOOK_AHEAD:
      case FEATURE.DISABLE_LOOK_AHEAD:
        state.hasLookAhead = feature === FEATURE.ENABLE_LOOK_AHEAD;
        break;
      case FEATURE.KEEP_SETTINGS:
      case FEATURE.REVERT_SETTINGS:
        break;
      case FEATURE.SET_TRANSFER_MODE:
        if (PIO_MODES.includes(state.registers[REGISTER.SECTOR_COUNT])) break;
        return this.#fail(ERROR.ABRT);
      default:
        return this.#fail(ERROR.ABRT);
    }
    this.#interrupt(true);
  }

  /** The first sector and the number of them that the registers ask for; none where they name no sector. */
  #addressed(isExtended: boolean): { lba: number; count: number } | undefined {
    const { registers, previous, geometry } = this.#state;
    const device = registers[REGISTER.DEVICE];
    const isLba = (device & DEVICE.LBA) !== 0;
    const low = registers[REGISTER.LBA_LOW];
    const mid = registers[REGISTER.LBA_MID];
    const high = registers[REGISTER.LBA_HIGH];
    if (isExtended) {
      const lba = [
        low,
        mid,
        high,
        previous[REGISTER.LBA_LOW],
        previous[REGISTER.LBA_MID],
        previous[REGISTER.LBA_HIGH],
      ].reduce((sum, byte, index) => sum + byte * 2 ** (8 * index), 0);
      const count = registers[REGISTER.SECTOR_COUNT] + 256 * previous[REGISTER.SECTOR_COUNT];
      return isLba ? { lba, count: count || 65536 } : undefined;
    }
    const count = registers[REGISTER.SECTOR_COUNT] || 256;
    const head = device & DEVICE.HEAD;
    if (isLba) return { lba: low + mid * 2 ** 8 + high * 2 ** 16 + head * 2 ** 24, count };
    const cylinder = mid + high * 2 ** 8;
    if (low === 0 || low > geometry.sectors || head >= geometry.heads) return undefined;
    return { lba: (cylinder * geometry.heads + head) * geometry.sectors + low - 1, count };
  }

  #start({ isWrite, isExtended, isMultiple }: TransferKind): void {
    const block = isMultiple ? this.#state.multiple : 1;
    const addressed = this.#addressed(isExtended);
    if (block === 0 || isWrite && this.disk.readonly) return this.#fail(ERROR.ABRT);
    if (addressed === undefined) return this.#fail(ERROR.IDNF);
    const { lba, count } = addressed;
    this.#state.transfer = { isWrite, isExtended, lba, left: count, block };
    if (isWrite) this.#receive(false);
    else this.#present();
  }

  /** Puts the next block into the buffer, for the guest to read. */
  #present(): void {
    const transfer = this.#state.transfer!;
    const { lba, left, block, isExtended } = transfer;
    const count = Math.min(left, block);
    const failed = this.#firstFailed(lba, count);
    if (failed !== undefined) {
      return this.#failAt(failed, isExtended, failed < this.disk.sectors ? ERROR.UNC : ERROR.IDNF);
    }
    this.#state.buffer = this.disk.read(lba, count);
    transfer.lba += count;
    this.#request(true);
  }

  /** Asks the guest for the next block. */
  #receive(interrupts: boolean): void {
    const { left, block } = this.#state.transfer!;
    this.#state.buffer = new Uint8Array(Math.min(left, block) * SECTOR_SIZE);
    this.#request(interrupts);
  }

  #request(interrupts: boolean): void {
    this.#state.position = 0;
    this.#state.status = READY | STATUS.DRQ;
    if (interrupts) this.#interrupt(true);
  }

  #firstFailed(lba: number, count: number): number | undefined {
    const bad = this.disk.firstBad(lba, Math.min(count, Math.max(0, this.disk.sectors - lba)));
    return bad ?? (this.disk.has(lba, count) ? undefined : Math.max(lba, this.disk.sectors));
  }

  #verify(isExtended: boolean): void {
    const addressed = this.#addressed(isExtended);
    if (addressed === undefined) return this.#fail(ERROR.IDNF);
    const failed = this.#firstFailed(addressed.lba, addressed.count);
    if (failed === undefined) return this.#interrupt(true);
    this.#failAt(failed, isExtended, failed < this.disk.sectors ? ERROR.UNC : ERROR.IDNF);
  }

  #fail(error: number): void {
    const state = this.#state;
    state.transfer = undefined;
    state.error = error;
    state.status = READY | STATUS.ERR;
    this.#interrupt(true);
  }

  /** Ends a command with an error, and the registers with the sector that it met. */
  #failAt(lba: number, isExtended: boolean, error: number): void {
    const { registers, previous, geometry } = this.#state;
    const byte = (index: number) => Math.floor(lba / 2 ** (8 * index)) & 0xff;
    const device = registers[REGISTER.DEVICE];
    const setHead = (head: number) =>
      registers[REGISTER.DEVICE] = device & ~DEVICE.HEAD | head & DEVICE.HEAD;
    if (isExtended || (device & DEVICE.LBA) !== 0) {
      registers.set([byte(0), byte(1), byte(2)], REGISTER.LBA_LOW);
      if (isExtended) previous.set([byte(3), byte(4), byte(5)], REGISTER.LBA_LOW);
      else setHead(byte(3));
    } else {
      const track = Math.floor(lba / geometry.sectors);
      const cylinder = Math.floor(track / geometry.heads);
      registers.set([lba % geometry.sectors + 1, cylinder & 0xff, cylinder >> 8], REGISTER.LBA_LOW);
      setHead(track % geometry.heads);
    }
    this.#fail(error);
  }

  #readData(size: number): number {
    const state = this.#state;
    const { transfer } = state;
    if (!this.#isTransferring || transfer?.isWrite === true) return ones(size);
    const { buffer, position } = state;
    const value = joinBytes(size, (index) => buffer[position + index] ?? 0xff);
    // The register has 16 bits: a byte takes its word with it.
    state.position += Math.max(size, 2);
    if (state.position >= buffer.length) this.#blockDone();
    return value;
  }

  #writeData(value: number, size: number): void {
    const state = this.#state;
    if (!this.#isTransferring || state.transfer?.isWrite !== true) return;
    const { buffer, position } = state;
    for (let index = 0; index < size && position + index < buffer.length; index++) {
      buffer[position + index] = byteOf(value, index);
    }
    state.position += Math.max(size, 2);
    if (state.position >= buffer.length) this.#blockDone();
  }

  get #isTransferring(): boolean {
    return (this.#status & STATUS.DRQ) !== 0;
  }

  #blockDone(): void {
    const state = this.#state;
    const { transfer, buffer } = state;
    state.status = READY;
    // The data of IDENTIFY DEVICE is one block, and no transfer of sectors.
    if (transfer === undefined) return;
    const count = buffer.length / SECTOR_SIZE;
    transfer.left -= count;
    if (transfer.isWrite) {
      const { lba, isExtended } = transfer;
      const failed = this.#firstFailed(lba, count);
      const whole = failed === undefined ? count : failed - lba;
      if (whole > 0) this.disk.write(lba, buffer.subarray(0, whole * SECTOR_SIZE));
      if (failed !== undefined) return this.#failAt(failed, isExtended, ERROR.IDNF);
      transfer.lba += count;
    }
    if (transfer.left > 0) return transfer.isWrite ? this.#receive(true) : this.#present();
    state.transfer = undefined;
    if (transfer.isWrite) this.#interrupt(true);
  }
}

/** What a reset and EXECUTE DEVICE DIAGNOSTIC leave in the registers. */
function signature(): Pick<State, "registers" | "status" | "error" | "transfer"> {
  const { registers, status, error, transfer } = stateAfterReset();
  return { registers, status, error, transfer };
}
