import { checkNames, checkOptions } from "../x86/defined_entries.ts";
import { hex } from "../x86/hex.ts";
import { SplitMix32 } from "../x86/split_mix.ts";
import { noneOfThatName } from "../x86/nearest_names.ts";
import { ones } from "./bytes.ts";
import type { Device, DeviceBoard, InterruptLine } from "./device.ts";
import type { NoPromise } from "./handlers.ts";
import {
  bitsOf,
  contentOf,
  fieldOf,
  type FieldPath,
  fitting,
  MAP_NAMES,
  placed,
  type Register,
  type RegisterContent,
  type RegisterDefinitions,
  type RegisterMapOptions,
  registerOf,
} from "./register_definition.ts";
import { newScript, type RegisterHooks, type Script, undelivered } from "./register_script.ts";

/** An access of the guest's to a register. */
export interface RegisterAccess {
  /** The register's name. */
  readonly register: string;
  /** Whether the guest read or wrote. */
  readonly kind: "read" | "write";
  /** What it got or gave. */
  readonly value: number;
}

/** What is expected of accesses: {@linkcode RegisterMap.read} and its like make it. */
export interface ExpectedAccess {
  /** Whether one read, one write, or reads until a condition holds. */
  readonly kind: "read" | "write" | "poll";
  /** The register's name. */
  readonly register: string;
  /** The bits that are compared; 0 for none. */
  readonly mask: number;
  /** What those are to be. */
  readonly value: number;
  /** It in words. */
  readonly text: string;
}

interface State {
  readonly scripts: ReadonlyMap<string, Script>;
  readonly accesses: readonly RegisterAccess[];
  readonly random: number | undefined;
  readonly isFloating: boolean;
  readonly isAsserted: boolean;
}

/**
 * A device that exists as its registers alone, to test a driver against: named registers and fields with their reset
 * values, replies by script, and the faults that hardware has. What the driver did is in {@linkcode
 * RegisterMap.accesses}, and is expected by `expect(map).toHaveAccessed([…])`.
 *
 * It is strict: an access to an offset without a register, of another width than the register's, a read of a write-only
 * one or a write to a read-only one ends the run with an error.
 *
 * @example A driver that polls
 * ```ts no-eval
 * import { asm, boot, expect } from "@vmexit/vmexit";
 * import { RegisterMap } from "@vmexit/vmexit/devices";
 *
 * const adc = new RegisterMap("ADC", {
 *   port: 0x300,
 *   registers: {
 *     CONTROL: { offset: 0, fields: { START: 0, CHANNEL: [6, 4] } },
 *     STATUS: { offset: 1, access: "ro", fields: { READY: 7 } },
 *     DATA: { offset: 2, access: "ro", reset: 0x5a },
 *   },
 * });
 * adc.becomes("STATUS.READY", 1, { afterReads: 3 });
 * using vm = boot(asm`
 *   mov dx, 0x300
 *   mov al, 0x21          ; channel 2, start
 *   out dx, al
 *   inc dx
 * poll:
 *   in al, dx
 *   test al, 0x80
 *   jz poll
 *   inc dx
 *   in al, dx
 *   hlt
 * `, { devices: [adc] });
 * vm.run();
 * expect(vm).toHaveRegisters({ al: 0x5a });
 * expect(adc).toHaveAccessed([
 *   adc.wrote("CONTROL", { START: 1, CHANNEL: 2 }),
 *   adc.polled("STATUS", { READY: 1 }),
 *   adc.read("DATA"),
 * ]);
 * ```
 */
export class RegisterMap<const Registers extends RegisterDefinitions> implements Device {
  /** See {@linkcode Device.name}. */
  readonly name: string;
  readonly #options: RegisterMapOptions<Registers>;
  readonly #registers = new Map<string, Register>();
  #scripts = new Map<string, Script>();
  readonly #hooks = new Map<string, RegisterHooks>();
  #accesses: RegisterAccess[] = [];
  /** What reserved bits come from; undefined where they are 0. */
  #random: SplitMix32 | undefined;
  #isFloating = false;
  #isAsserted = false;
  #line: InterruptLine | undefined;

  /**
   * A device with its registers as after reset.
   *
   * @throws {TypeError} When it has both a port and an address, or neither, or no register, or a name that there is not.
   * @throws {RangeError} When registers or fields overlap, or a value does not fit.
   */
  constructor(name: string, options: RegisterMapOptions<Registers>) {
    checkOptions(`make ${name}`, options, MAP_NAMES);
    const { port, address, registers, reserved = "zero" } = options;
    checkNames(`make ${name} with registers`, registers);
    if (reserved !== "zero") {
      checkOptions(`make ${name}`, reserved, { seed: "value" }, "reserved");
    }
    this.name = name;
    this.#options = options;
    this.#random = typeof reserved === "object" ? randomOf(reserved.seed) : undefined;
    if ((port === undefined) === (address === undefined)) {
      throw new TypeError(`Cannot make ${name}: give either its first port or its first address`);
    }
    const entries = Object.entries(registers);
    if (entries.length === 0) throw new TypeError(`Cannot make ${name}: it has no register`);
    const size = port === undefined ? 4 : 1;
    for (const [register, definition] of entries) {
      if (register.includes(".")) {
        throw new TypeError(
          `Cannot make ${name}: the point in "${register}" is what fields stand behind`,
        );
      }
      this.#registers.set(register, registerOf(`${name}.${register}`, register, definition, size));
    }
    this.#checkOverlaps();
    for (const [register, { reset }] of this.#registers) {
      this.#scripts.set(register, newScript(reset));
    }
  }

  /** The guest's accesses, in order. */
  get accesses(): readonly RegisterAccess[] {
    return this.#accesses;
  }

  /** See {@linkcode Device.pending}. */
  get pending(): string | undefined {
    return undelivered(this.name, this.#scripts);
  }

  /** See {@linkcode Device.attach}. */
  attach(board: DeviceBoard): void {
    const { port, address = 0, irq } = this.#options;
    const ends = [...this.#registers.values()].map(({ offset, size }) => offset + size - 1);
    const base = port ?? address;
    const range = [base, base + Math.max(...ends)] as const;
    const handler = {
      name: this.name,
      read: (at: number, size: number) => this.#guestReads(at - base, size),
      write: (at: number, value: number | bigint, size: number) =>
        this.#guestWrites(at - base, value, size),
    };
    if (port === undefined) board.mmio.on(range, handler);
    else board.ports.on(range, handler);
    if (irq !== undefined) this.#line = board.interruptLine(irq);
  }

  /** Registers get their values after reset. What the test has planned and the log of accesses stay. */
  reset(): void {
    for (const [name, { reset }] of this.#registers) this.#scripts.get(name)!.value = reset;
  }

  /** See {@linkcode Device.save}. With the registers go what the test has planned, and the log of accesses. */
  save(): unknown {
    return structuredClone(
      {
        scripts: this.#scripts,
        accesses: this.#accesses,
        random: this.#random?.state,
        isFloating: this.#isFloating,
        isAsserted: this.#isAsserted,
      } satisfies State,
    );
  }

  /** See {@linkcode Device.restore}. The functions of `onRead` and `onWrite` stay. */
  restore(state: unknown): void {
    const { scripts, accesses, random, isFloating, isAsserted } = structuredClone(state as State);
    this.#scripts = new Map(scripts);
    this.#accesses = [...accesses];
    this.#random = random === undefined ? undefined : new SplitMix32(random);
    this.#isFloating = isFloating;
    this.#isAsserted = isAsserted;
    this.#line?.set(isAsserted);
  }

  /** The value of a register, or of a field. */
  get(name: (keyof Registers & string) | FieldPath<Registers>): number {
    const [register, field] = this.#find(name);
    const { value } = this.#scriptOf(register.name);
    return field === undefined ? value : (value & field.mask) >>> field.shift;
  }

  /**
   * Sets a register, or a field, as the device itself does.
   *
   * @throws {RangeError} When there is none of that name, or the value does not fit.
   */
  set(name: (keyof Registers & string) | FieldPath<Registers>, value: number): void {
    const [register, field] = this.#find(name);
    const script = this.#scriptOf(register.name);
    script.value = field === undefined
      ? fitting(name, value, bitsOf(register.size))
      : (script.value & ~field.mask | placed(name, field, value)) >>> 0;
  }

  /** The next reads of a register get these values, one each; then it reads as its value again. */
  replies<Name extends keyof Registers & string>(
    name: Name,
    values: readonly RegisterContent<Registers[Name]>[],
  ): void {
    const register = this.#registerOf(name);
    this.#scriptOf(name).replies.push(...values.map((each) => contentOf(register, each).value));
  }

  /** Reads of a register get what `read` returns; a number that fits it. */
  onRead(name: keyof Registers & string, read: () => number): void {
    this.#hooksOf(name).read = read;
  }

  /** `write` is called after each write to a register, with the value that was written. */
  onWrite(name: keyof Registers & string, write: (value: number) => NoPromise): void {
    this.#hooksOf(name).write = write;
  }

  /**
   * A field changes when its register has been read so often: the last of these reads shows it.
   *
   * @throws {RangeError} When there is no such field, or a number is none from 1 on.
   */
  becomes(
    name: FieldPath<Registers>,
    value: number,
    { afterReads }: { readonly afterReads: number },
  ): void {
    const [register, field] = this.#findField(name);
    const reads = countOf("wait for", afterReads);
    this.#scriptOf(register.name).planned.push({
      mask: field.mask,
      value: placed(name, field, value),
      reads,
    });
  }

  /**
   * A fault: no device answers. All reads give ones, and writes are lost, until it is called with false. What the driver
   * tries is in {@linkcode RegisterMap.accesses} all the same.
   */
  float(isFloating = true): void {
    this.#isFloating = isFloating;
  }

  /** A fault: a field reads as this value whatever happens. */
  stick(name: FieldPath<Registers>, value: number): void {
    const [register, field] = this.#findField(name);
    const script = this.#scriptOf(register.name);
    const stuck = placed(name, field, value);
    script.stuckMask = (script.stuckMask | field.mask) >>> 0;
    script.stuckValue = (script.stuckValue & ~field.mask | stuck) >>> 0;
  }

  /** A fault: the next reads that would show a field set do not show it, so many of them. */
  delay(name: FieldPath<Registers>, reads: number): void {
    const [register, { mask }] = this.#findField(name);
    this.#scriptOf(register.name).late.push({ mask, reads: countOf("delay by", reads) });
  }

  /** A fault: the next read of a register gets this value, once. A run that ends before that is an error. */
  failOnce<Name extends keyof Registers & string>(
    name: Name,
    value: RegisterContent<Registers[Name]>,
  ): void {
    this.#scriptOf(name).once.push(contentOf(this.#registerOf(name), value).value);
  }

  /**
   * Asserts the interrupt request line, or ends that.
   *
   * @throws {TypeError} When the map has no `irq`, or is on no board, or on one without an interrupt controller.
   */
  interrupt(asserted = true): void {
    if (this.#line === undefined) {
      throw new TypeError(
        `Cannot interrupt by ${this.name}: it has no line. Give it an \`irq\`, and put it on a board`,
      );
    }
    if (!this.#line.isConnected) {
      throw new TypeError(
        `Cannot interrupt by ${this.name}: its machine has no interrupt controller. Boot it with \`irqchip: true\`, or ` +
          "with `devices: [new Pic(), …]`",
      );
    }
    this.#isAsserted = asserted;
    this.#line.set(asserted);
  }

  /** Expects one read of a register; with a value, that the guest got it. */
  read<Name extends keyof Registers & string>(
    name: Name,
    ...value: [RegisterContent<Registers[Name]>?]
  ): ExpectedAccess {
    return this.#expected("read", name, value);
  }

  /** Expects one write to a register; with a value, or with fields, of it. */
  wrote<Name extends keyof Registers & string>(
    name: Name,
    ...value: [RegisterContent<Registers[Name]>?]
  ): ExpectedAccess {
    return this.#expected("write", name, value);
  }

  /** Expects reads of a register in a row, of which the last, and no other, shows the fields so. */
  polled<Name extends keyof Registers & string>(
    name: Name,
    value: RegisterContent<Registers[Name]>,
  ): ExpectedAccess {
    return this.#expected("poll", name, [value]);
  }

  /** An access in words: the register, its value, and the fields that are not 0. */
  describe({ register, kind, value }: RegisterAccess): string {
    const { fields } = this.#registerOf(register);
    const shown = [...fields].flatMap(([name, { mask, shift }]) => {
      const field = (value & mask) >>> shift;
      return field === 0 ? [] : [mask >>> shift === 1 ? name : `${name} ${hex(field)}`];
    });
    return `${kind} ${register} ${hex(value)}${shown.length === 0 ? "" : ` (${shown.join(", ")})`}`;
  }

  #guestReads(offset: number, size: number): number {
    const register = this.#at("read", offset, size);
    if (this.#isFloating) {
      this.#accesses.push({ register: register.name, kind: "read", value: ones(size) });
      return ones(size);
    }
    const script = this.#scriptOf(register.name);
    for (const each of script.planned) {
      if (--each.reads === 0) script.value = (script.value & ~each.mask | each.value) >>> 0;
    }
    const { read } = this.#hooksOf(register.name);
    let value = read !== undefined
      ? fitting(`what ${register.name} reads as`, read(), bitsOf(register.size))
      : script.replies.shift() ?? script.value;
    for (const late of script.late) {
      if (late.reads === 0 || (value & late.mask) === 0) continue;
      late.reads--;
      value &= ~late.mask;
    }
    value = value & ~register.writeOnly & ~script.stuckMask | script.stuckValue;
    value = script.once.shift() ?? value;
    if (this.#random !== undefined) {
      value = value & ~register.reserved | this.#random.next() & register.reserved;
    }
    script.value = (script.value & ~register.readToClear) >>> 0;
    this.#accesses.push({ register: register.name, kind: "read", value: value >>> 0 });
    return value >>> 0;
  }

  #guestWrites(offset: number, written: number | bigint, size: number): NoPromise {
    const register = this.#at("write", offset, size);
    const script = this.#scriptOf(register.name);
    const value = Number(written);
    if (this.#isFloating) {
      this.#accesses.push({ register: register.name, kind: "write", value });
      return;
    }
    const { writable, writeOneToClear } = register;
    const kept = script.value & ~writable & ~(value & writeOneToClear);
    script.value = (kept | value & writable) >>> 0;
    this.#accesses.push({ register: register.name, kind: "write", value });
    return this.#hooksOf(register.name).write?.(value);
  }

  /** @throws {RangeError} When the guest may not access that. */
  #at(kind: "read" | "write", offset: number, size: number): Register {
    const there = [...this.#registers.values()].filter((each) =>
      offset >= each.offset && offset < each.offset + each.size
    );
    const can = (each: Register) => kind === "read" ? each.canRead : each.canWrite;
    const register = there.find((each) =>
      each.offset === offset && each.size === size && can(each)
    );
    if (register !== undefined) return register;
    const verb = kind === "read" ? "read of" : "write to";
    const [first] = there;
    const why = first === undefined
      ? "no register is there"
      : first.offset !== offset || first.size !== size
      ? `${first.name} has ${first.size} byte${first.size === 1 ? "" : "s"} at +${
        hex(first.offset)
      }`
      : `${first.name} is ${kind === "read" ? "write-only" : "read-only"}`;
    throw new RangeError(
      `Cannot take the guest's ${verb} ${size} byte${size === 1 ? "" : "s"} at ${this.name}+${
        hex(offset)
      }: ${why}. It is a fault of the driver's, or the map lacks a register.`,
    );
  }

  #expected(
    kind: ExpectedAccess["kind"],
    name: string,
    values: readonly (number | Readonly<Record<string, number | undefined>> | undefined)[],
  ): ExpectedAccess {
    const register = this.#registerOf(name);
    if (values.length === 0) {
      return { kind, register: name, mask: 0, value: 0, text: `${kind} ${name}` };
    }
    const [given] = values;
    if (given === undefined) {
      throw new TypeError(
        `Cannot expect ${name} as undefined: leave it out, or give a value; is a name misspelt where it comes from?`,
      );
    }
    const { value, mask, text } = contentOf(register, given);
    return { kind, register: name, mask, value, text: `${kind} ${name} ${text}` };
  }

  #registerOf(name: string): Register {
    const register = this.#registers.get(name);
    if (register !== undefined) return register;
    throw new RangeError(
      `Cannot find the register ${name} of ${this.name}: ${
        noneOfThatName(name, this.#registers.keys())
      }`,
    );
  }

  #scriptOf(name: string): Script {
    return this.#scripts.get(this.#registerOf(name).name)!;
  }

  #hooksOf(name: string): RegisterHooks {
    const register = this.#registerOf(name).name;
    const hooks = this.#hooks.get(register) ?? {};
    this.#hooks.set(register, hooks);
    return hooks;
  }

  #find(path: string): [Register, { shift: number; mask: number } | undefined] {
    const [name, field] = path.split(".");
    const register = this.#registerOf(name);
    if (field === undefined) return [register, undefined];
    return [register, fieldOf(register, field)];
  }

  #findField(path: string): [Register, { shift: number; mask: number }] {
    const [register, field] = this.#find(path);
    if (field !== undefined) return [register, field];
    throw new RangeError(`Cannot take ${path} as a field: name one, "${path}.NAME"`);
  }

  #checkOverlaps(): void {
    const all = [...this.#registers.values()];
    for (const [index, register] of all.entries()) {
      const other = all.slice(0, index).find((each) =>
        each.offset < register.offset + register.size &&
        register.offset < each.offset + each.size &&
        !(each.offset === register.offset && each.size === register.size &&
          !(each.canRead && register.canRead) && !(each.canWrite && register.canWrite))
      );
      if (other === undefined) continue;
      throw new RangeError(
        `Cannot make ${this.name}: its registers ${other.name} and ${register.name} overlap`,
      );
    }
  }
}

function countOf(verb: string, count: number): number {
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new RangeError(`Cannot ${verb} ${String(count)} reads: it is no number from 1 on`);
}

function randomOf(seed: number): SplitMix32 {
  if (Number.isSafeInteger(seed) && seed >= 0) return new SplitMix32(seed);
  throw new RangeError(`Cannot seed reserved bits with ${String(seed)}: it is no number from 0 on`);
}
