import { PORT } from "../x86/layout.ts";
import { checkOptions, type NamesOf } from "../x86/defined_entries.ts";
import { claimBytePorts } from "./byte_ports.ts";
import { checkedInteger } from "./checked.ts";
import type { Device, DeviceBoard, InterruptController } from "./device.ts";
import { picLines, type PicState } from "./pic_state.ts";

/** Initialization command word 1 (8259A data sheet, figure 7). */
const ICW1 = { NEEDS_ICW4: 0x01, SINGLE: 0x02, LEVEL: 0x08, SELECT: 0x10 } as const;

/** Initialization command word 4 (figure 7). */
const ICW4 = { AUTO_EOI: 0x02, SPECIAL_FULLY_NESTED: 0x10 } as const;

/** Operation command word 3 (figure 8); without {@linkcode OCW3.SELECT} it is word 2. */
const OCW3 = {
  READ_IN_SERVICE: 0x01,
  READ: 0x02,
  POLL: 0x04,
  SELECT: 0x08,
  SPECIAL_MASK: 0x20,
  CHANGE_SPECIAL_MASK: 0x40,
} as const;

/** The commands in bits 7 to 5 of operation command word 2 (figure 8). */
const OCW2 = {
  CLEAR_ROTATE_ON_AUTO_EOI: 0,
  NONSPECIFIC_EOI: 1,
  SPECIFIC_EOI: 3,
  SET_ROTATE_ON_AUTO_EOI: 4,
  ROTATE_ON_NONSPECIFIC_EOI: 5,
  SET_PRIORITY: 6,
  ROTATE_ON_SPECIFIC_EOI: 7,
} as const;

const OCW2_COMMAND_SHIFT = 5;
const LEVEL_BITS = 0x07;
const VECTOR_BITS = 0xf8;

/** A poll's answer: an interrupt was taken. */
const POLL_TAKEN = 0x80;

const INPUTS = 8;
const ALL = 0xff;
const ALL_LINES = 0xffff;

/** The master's input that the slave has. */
const CASCADE = 2;

/** The input that a controller answers with, where none asks (data sheet, "Edge and Level Triggered Modes"). */
const SPURIOUS = 7;

/** The lines that may be level-triggered: not those of the timer, keyboard, cascade, clock and coprocessor. */
const ELCR_BITS = [0xf8, 0xde] as const;

/** What a controller waits for: a command, or one of the words behind ICW1. */
type Step = 1 | 2 | 3 | 4;

/** One 8259A. */
interface Chip {
  /** Interrupt request register: edges that were latched, and levels that are there. */
  irr: number;
  /** In-service register. */
  isr: number;
  /** Interrupt mask register. */
  imr: number;
  /** The levels of the inputs. */
  lines: number;
  /** Edge and level control register: inputs that are level-triggered. */
  elcr: number;
  /** All are, as ICW1 says. */
  isLevelTriggered: boolean;
  vectorBase: number;
  /** The input of lowest priority. */
  lowest: number;
  step: Step;
  hasInitialized: boolean;
  isSingle: boolean;
  needsIcw4: boolean;
  readsInService: boolean;
  isPolled: boolean;
  specialMask: boolean;
  autoEoi: boolean;
  rotatesOnAutoEoi: boolean;
  specialFullyNested: boolean;
}

const COMMAND: Step = 1;

function afterReset(): Chip {
  return {
    irr: 0,
    isr: 0,
    imr: ALL,
    lines: 0,
    elcr: 0,
    isLevelTriggered: false,
    vectorBase: 0,
    lowest: SPURIOUS,
    step: COMMAND,
    hasInitialized: false,
    isSingle: false,
    needsIcw4: false,
    readsInService: false,
    isPolled: false,
    specialMask: false,
    autoEoi: false,
    rotatesOnAutoEoi: false,
    specialFullyNested: false,
  };
}

/** What a {@linkcode Pic} is told. */
export interface PicOptions {
  /**
   * The vectors of IRQ 0 and IRQ 8, where firmware has set the controllers up before the guest starts: a PC's BIOS
   * leaves `[0x08, 0x70]`. By default they wait for ICW1.
   */
  readonly vectors?: readonly [master: number, slave: number];
  /** The lines that firmware has masked, by bit. Default none. */
  readonly masked?: number;
}

const OPTIONS: NamesOf<PicOptions> = { vectors: "value", masked: "value" };

/**
 * The two interrupt controllers (8259A) of a PC, the second at IRQ 2 of the first, with the edge and level control
 * registers of PCI chipsets at 0x4d0. They interrupt CPU 0 of a machine that has no `irqchip`.
 *
 * 8259A data sheet (Intel 231468): all of ICW1 to ICW4, OCW1 to OCW3, rotation, special mask, polling, automatic EOI and
 * special fully nested mode. Left out: MCS-80 mode, the buffered mode (pins only), and cascades other than a PC's (ICW3
 * is taken, and not looked at). An edge is latched until it is acknowledged, also where its line falls before: as in
 * the controllers of later chipsets. {@linkcode Pic.spurious} gives what an 8259A gives then.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot } from "@vmexit/vmexit";
 * import { Pic } from "@vmexit/vmexit/devices";
 *
 * const pic = new Pic({ vectors: [0x08, 0x70] });
 * using vm = boot(asm`
 *   mov word [0x0d * 4], on_irq5
 *   mov word [0x0d * 4 + 2], 0
 *   sti
 *   hlt
 *   cli
 *   hlt
 * on_irq5:
 *   mov bl, 5
 *   mov al, 0x20
 *   out 0x20, al
 *   iret
 * `, { devices: [pic] });
 * pic.setLine(5, true);
 * vm.run();
 * console.log(vm.registers.bl); // 5
 * ```
 */
export class Pic implements Device, InterruptController {
  /** The name in tables of exits. */
  readonly name = "PIC";
  readonly #options: PicOptions;
  #chips: [master: Chip, slave: Chip];
  #spurious: 7 | 15 | undefined;
  #hasInterrupt = false;

  /**
   * Two controllers, as after reset, or as firmware has left them.
   *
   * @throws {RangeError} When a vector is no multiple of 8 up to 0xf8, or the masks are no 16 bits.
   */
  constructor(options: PicOptions = {}) {
    checkOptions("make a PIC", options, OPTIONS);
    this.#options = options;
    this.#chips = [afterReset(), afterReset()];
    this.#setUp();
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    board.connectInterruptController(this);
    for (const [index, port] of [PORT.picMaster, PORT.picSlave].entries()) {
      claimBytePorts(board.ports, port, 2, {
        name: this.name,
        read: (offset) => this.#read(this.#chips[index], offset),
        write: (offset, value) => this.#write(this.#chips[index], offset, value),
      });
    }
    claimBytePorts(board.ports, PORT.picElcr, 2, {
      name: this.name,
      read: (offset) => this.#chips[offset].elcr,
      write: (offset, value) => {
        const chip = this.#chips[offset];
        chip.elcr = value & ELCR_BITS[offset];
        followLevels(chip);
        this.#update();
      },
    });
  }

  /** See {@linkcode Device.reset}. The lines stay as their devices have them; what firmware set up is gone. */
  reset(): void {
    const lines = this.#chips.map((chip) => chip.lines);
    this.#chips = [afterReset(), afterReset()];
    for (const [index, chip] of this.#chips.entries()) chip.lines = lines[index];
    this.#spurious = undefined;
    this.#update();
  }

  /** See {@linkcode Device.save}. */
  save(): unknown {
    return structuredClone({ chips: this.#chips, spurious: this.#spurious });
  }

  /** See {@linkcode Device.restore}. */
  restore(state: unknown): void {
    const { chips, spurious } = structuredClone(
      state as { chips: [Chip, Chip]; spurious: 7 | 15 | undefined },
    );
    this.#chips = chips;
    this.#spurious = spurious;
    this.#update();
  }

  /** See {@linkcode InterruptController.hasInterrupt}. */
  get hasInterrupt(): boolean {
    return this.#hasInterrupt;
  }

  /** See {@linkcode InterruptController.setLine}. Lines above 15 lead nowhere, and IRQ 2 is the slave's. */
  setLine(irq: number, asserted: boolean): void {
    if (irq >= 2 * INPUTS || irq === CASCADE) return;
    const chip = this.#chips[irq < INPUTS ? 0 : 1];
    setInput(chip, irq % INPUTS, asserted);
    this.#update();
  }

  /** See {@linkcode InterruptController.acknowledge}. */
  acknowledge(): number {
    const vector = this.#acknowledge();
    this.#update();
    return vector;
  }

  #acknowledge(): number {
    const [master, slave] = this.#chips;
    const spurious = this.#spurious;
    this.#spurious = undefined;
    if (spurious === SPURIOUS) return master.vectorBase + SPURIOUS;
    if (spurious !== undefined) {
      take(master, CASCADE);
      return slave.vectorBase + SPURIOUS;
    }
    const input = requested(master, true);
    if (input === undefined) return master.vectorBase + SPURIOUS;
    take(master, input);
    if (input !== CASCADE || master.isSingle) return master.vectorBase + input;
    const cascaded = requested(slave, false);
    if (cascaded === undefined) return slave.vectorBase + SPURIOUS;
    take(slave, cascaded);
    return slave.vectorBase + cascaded;
  }

  /**
   * Interrupts the CPU with no device behind it, as where a line falls before it is acknowledged: IRQ 7, which is not
   * in service then, or IRQ 15, for which the master's cascade is.
   *
   * @throws {RangeError} When it is another.
   */
  spurious(irq: 7 | 15): void {
    if (irq !== SPURIOUS && irq !== INPUTS + SPURIOUS) {
      throw new RangeError(`Cannot make IRQ ${irq} spurious: a controller answers with 7, or 15`);
    }
    this.#spurious = irq;
    this.#update();
  }

  /** The lines that wait to be acknowledged, by bit: IRR of both. */
  get requested(): number {
    return this.#chips[0].irr & ~(1 << CASCADE) | this.#chips[1].irr << INPUTS;
  }

  /** The lines in service, by bit: ISR of both. */
  get inService(): number {
    return this.#chips[0].isr | this.#chips[1].isr << INPUTS;
  }

  /** The lines that are masked, by bit: IMR of both. */
  get masked(): number {
    return this.#chips[0].imr | this.#chips[1].imr << INPUTS;
  }

  /** The registers of both. */
  get registers(): { readonly master: PicState; readonly slave: PicState } {
    const [master, slave] = this.#chips.map((chip) => ({
      irr: picLines(chip.irr),
      isr: picLines(chip.isr),
      imr: picLines(chip.imr),
      elcr: picLines(levelInputs(chip)),
      vectorBase: chip.vectorBase,
      autoEoi: chip.autoEoi,
      lowestPriority: chip.lowest,
      specialMask: chip.specialMask,
    }));
    return { master, slave };
  }

  #setUp(): void {
    const { vectors, masked = 0 } = this.#options;
    if (vectors === undefined) return;
    for (const [index, chip] of this.#chips.entries()) {
      const vector = checkedInteger("give a PIC the vector", vectors[index], 0, VECTOR_BITS);
      if (vector % INPUTS !== 0) {
        throw new RangeError(
          `Cannot give a PIC the vector ${vector}: its eight inputs take a multiple of ${INPUTS} and those behind it`,
        );
      }
      chip.vectorBase = vector;
      chip.imr = checkedInteger("mask the lines", masked, 0, ALL_LINES) >> INPUTS * index & ALL;
      chip.hasInitialized = true;
    }
  }

  /** What follows from a change: the slave asks the master, and the master the CPU. */
  #update(): void {
    const [master, slave] = this.#chips;
    const cascades = requested(slave, false) !== undefined;
    master.irr = cascades ? master.irr | 1 << CASCADE : master.irr & ~(1 << CASCADE);
    this.#hasInterrupt = master.hasInitialized &&
      (this.#spurious !== undefined || requested(master, true) !== undefined);
  }

  #read(chip: Chip, offset: number): number {
    if (chip.isPolled) {
      chip.isPolled = false;
      const input = requested(chip, chip === this.#chips[0]);
      if (input === undefined) return 0;
      take(chip, input);
      this.#update();
      return POLL_TAKEN | input;
    }
    return offset === 1 ? chip.imr : chip.readsInService ? chip.isr : chip.irr;
  }

  #write(chip: Chip, offset: number, value: number): void {
    if (offset === 1) writeData(chip, value);
    else if ((value & ICW1.SELECT) !== 0) initialize(chip, value);
    else if ((value & OCW3.SELECT) !== 0) controlReads(chip, value);
    else endOfInterrupt(chip, value);
    this.#update();
  }
}

function levelInputs(chip: Chip): number {
  return chip.isLevelTriggered ? ALL : chip.elcr;
}

/** Requests of level-triggered inputs are those of the lines. */
function followLevels(chip: Chip): void {
  const level = levelInputs(chip);
  chip.irr = chip.irr & ~level | chip.lines & level;
}

function setInput(chip: Chip, input: number, asserted: boolean): void {
  const bit = 1 << input;
  const rises = asserted && (chip.lines & bit) === 0;
  chip.lines = asserted ? chip.lines | bit : chip.lines & ~bit;
  if (rises) chip.irr |= bit;
  followLevels(chip);
}

/** The input of highest priority among some; undefined for none. */
function highest(chip: Chip, inputs: number): number | undefined {
  for (let rank = 1; rank <= INPUTS; rank++) {
    const input = (chip.lowest + rank) % INPUTS;
    if ((inputs >> input & 1) !== 0) return input;
  }
  return undefined;
}

/** How far an input's priority is behind the highest. */
function rankOf(chip: Chip, input: number): number {
  return (input - chip.lowest - 1 + 2 * INPUTS) % INPUTS;
}

/** The input for which a controller asks; undefined where it does not. */
function requested(chip: Chip, isMaster: boolean): number | undefined {
  if (!chip.hasInitialized) return undefined;
  const input = highest(chip, chip.irr & ~chip.imr);
  if (input === undefined) return undefined;
  let blocking = chip.isr;
  if (chip.specialMask) blocking &= ~chip.imr;
  // Others of the slave's may be more urgent than the one in service.
  if (chip.specialFullyNested && isMaster) blocking &= ~(1 << CASCADE);
  const inService = highest(chip, blocking);
  return inService === undefined || rankOf(chip, input) < rankOf(chip, inService)
    ? input
    : undefined;
}

/** What an acknowledge cycle does to the controller that has asked. */
function take(chip: Chip, input: number): void {
  const bit = 1 << input;
  if (!chip.autoEoi) chip.isr |= bit;
  else if (chip.rotatesOnAutoEoi) chip.lowest = input;
  if ((levelInputs(chip) & bit) === 0) chip.irr &= ~bit;
}

/** ICW1 (data sheet, "Initialization Command Words 1 and 2"). */
function initialize(chip: Chip, value: number): void {
  chip.isLevelTriggered = (value & ICW1.LEVEL) !== 0;
  chip.isSingle = (value & ICW1.SINGLE) !== 0;
  chip.needsIcw4 = (value & ICW1.NEEDS_ICW4) !== 0;
  chip.irr = 0;
  followLevels(chip);
  chip.isr = 0;
  chip.imr = 0;
  chip.lowest = SPURIOUS;
  chip.hasInitialized = false;
  chip.readsInService = false;
  chip.isPolled = false;
  chip.specialMask = false;
  chip.autoEoi = false;
  chip.rotatesOnAutoEoi = false;
  chip.specialFullyNested = false;
  chip.step = 2;
}

function writeData(chip: Chip, value: number): void {
  switch (chip.step) {
    case COMMAND:
      chip.imr = value;
      return;
    case 2:
      chip.vectorBase = value & VECTOR_BITS;
      chip.step = !chip.isSingle ? 3 : chip.needsIcw4 ? 4 : COMMAND;
      break;
    case 3:
      chip.step = chip.needsIcw4 ? 4 : COMMAND;
      break;
    case 4:
      chip.autoEoi = (value & ICW4.AUTO_EOI) !== 0;
      chip.specialFullyNested = (value & ICW4.SPECIAL_FULLY_NESTED) !== 0;
      chip.step = COMMAND;
  }
  chip.hasInitialized = chip.step === COMMAND;
}

/** OCW3. */
function controlReads(chip: Chip, value: number): void {
  if ((value & OCW3.POLL) !== 0) chip.isPolled = true;
  if ((value & OCW3.READ) !== 0) chip.readsInService = (value & OCW3.READ_IN_SERVICE) !== 0;
  if ((value & OCW3.CHANGE_SPECIAL_MASK) !== 0) {
    chip.specialMask = (value & OCW3.SPECIAL_MASK) !== 0;
  }
}

/** OCW2. */
function endOfInterrupt(chip: Chip, value: number): void {
  const level = value & LEVEL_BITS;
  // In special mask mode inputs that are masked are passed over ("Special Mask Mode").
  const ended = highest(chip, chip.specialMask ? chip.isr & ~chip.imr : chip.isr);
  switch (value >> OCW2_COMMAND_SHIFT) {
    case OCW2.CLEAR_ROTATE_ON_AUTO_EOI:
      chip.rotatesOnAutoEoi = false;
      break;
    case OCW2.SET_ROTATE_ON_AUTO_EOI:
      chip.rotatesOnAutoEoi = true;
      break;
    case OCW2.NONSPECIFIC_EOI:
    case OCW2.ROTATE_ON_NONSPECIFIC_EOI:
      if (ended === undefined) break;
      chip.isr &= ~(1 << ended);
      if (value >> OCW2_COMMAND_SHIFT === OCW2.ROTATE_ON_NONSPECIFIC_EOI) chip.lowest = ended;
      break;
    case OCW2.SPECIFIC_EOI:
      chip.isr &= ~(1 << level);
      break;
    case OCW2.ROTATE_ON_SPECIFIC_EOI:
      chip.isr &= ~(1 << level);
      chip.lowest = level;
      break;
    case OCW2.SET_PRIORITY:
      chip.lowest = level;
  }
}
