import { terminatedBytes } from "../../devices/bytes.ts";
import { hex } from "../../x86/hex.ts";
import type { MachineCpu } from "../../machine/machine.ts";
import { imageBaseAt } from "../../machine/registers/code_location.ts";
import type { GuestResults, GuestTest } from "./results.ts";

/** The kinds of reports: `guests/include/guest_test.inc` and `guest_test.h` have the same. */
const REPORT = { TEST: 1, FAILED: 2, PASSED: 3, END: 4, PRINT: 5, SKIP: 6, DONE: 7 } as const;

/** A jump over the record: its opcode and how far the record lies behind that, by the width of code. */
const JUMP = { opcode: 0xe9, length: { 16: 3, 32: 5, 64: 5 } } as const;

const LONGEST_TEXT = 1024;

/** `struct guest_record`. */
const RECORD = { size: 40, kind: 0, line: 4, file: 8, text: 16, left: 24, right: 32 } as const;
const WORD = 8;
const MOST_ARGUMENTS = 16;

/** What the conditions of NASM's assertions are called. */
const CONDITIONS: Readonly<Record<string, string>> = { e: "==", ne: "!=", b: "<", a: ">" };

interface Running {
  readonly name: string;
  skipped?: string;
  failures: string[];
  assertions: number;
}

/** Takes the reports of a guest that tests itself. */
export class GuestReports {
  readonly #cpu: () => MachineCpu;
  readonly #tests: GuestTest[] = [];
  #running: Running | undefined;
  #flaw: string | undefined;
  #isDone = false;
  #output = "";

  /**
   * No report yet.
   *
   * @param cpu The CPU whose exit is being answered.
   */
  constructor(cpu: () => MachineCpu) {
    this.#cpu = cpu;
  }

  /** What the guest has printed. */
  get output(): string {
    return this.#output;
  }

  /** Whether there was a report at all. */
  get hasReports(): boolean {
    return this.#isDone || this.#flaw !== undefined || this.#running !== undefined ||
      this.#tests.length > 0;
  }

  /** The tests, once the guest's run is over. */
  results(): GuestResults {
    const flaw = this.#flaw ??
      (this.#running !== undefined
        ? `the test "${this.#running.name}" has begun and not ended`
        : this.#isDone
        ? undefined
        : "the guest has not said that it is done (guest_tests_done)");
    const unended = this.#running === undefined
      ? []
      : [{ ...this.#running, failures: [...this.#running.failures, "it has not ended"] }];
    return { tests: [...this.#tests, ...unended], flaw };
  }

  /** Takes a report of the include file: its record stands behind the call. */
  takeCall(): void {
    const { registers, linear, image } = this.#cpu();
    const bits = registers.cs.db ? 32 : registers.cs.l ? 64 : 16;
    const stack = registers.ss.base + (bits === 16 ? BigInt(registers.sp) : registers.rsp);
    const size = bits / WORD;
    const back = linear.read(stack, size).reduceRight((all, byte) => all << 8n | BigInt(byte), 0n) +
      registers.cs.base;
    if (linear.u8(back) !== JUMP.opcode) {
      throw new RangeError(
        `Cannot take a guest's report: behind the call at ${hex(back)} there is no record. ` +
          "Reports are made by the macros of guest_test.inc.",
      );
    }
    let at = back + BigInt(JUMP.length[bits]);
    const [kind, count] = linear.read(at, 2);
    at += 2n;
    const texts = Array.from({ length: count }, () => {
      const bytes = this.#bytesAt(at);
      at += BigInt(bytes.length + 1);
      return new TextDecoder().decode(bytes);
    });
    const { imageBase } = imageBaseAt(image, back, registers.cs.base);
    const line = image.lineOf(back - imageBase - 1n);
    const place = line === undefined ? hex(back) : `${line.file}:${line.line}`;
    const values = texts.map((text) => this.#operand(text));
    if (kind === REPORT.PRINT) return this.#print(texts[0] ?? "", values.slice(1));
    if (kind !== REPORT.FAILED) return this.#take(kind, texts[0] ?? "", place, "");
    const [condition, left, right] = texts;
    const shown = [[left, values[1]], [right, values[2]]]
      .flatMap(([text, value]) =>
        value === undefined ? [] : [`${text} is ${hex(value as bigint)}`]
      );
    this.#take(kind, `${left} ${CONDITIONS[condition]} ${right}`, place, shown.join(", "));
  }

  /** Takes a report of the header file: its record is where RDI points. */
  takeRecord(): void {
    const { registers, linear } = this.#cpu();
    const at = (registers.cs.l ? registers.rdi : BigInt(registers.edi)) + registers.ds.base;
    const view = new DataView(linear.read(at, RECORD.size).buffer);
    const kind = view.getUint32(RECORD.kind, true);
    const pointer = (offset: number) => view.getBigUint64(offset, true);
    const base = registers.ds.base;
    const text = pointer(RECORD.text) === 0n ? "" : this.#textAt(pointer(RECORD.text) + base);
    const [left, right] = [pointer(RECORD.left), pointer(RECORD.right)];
    if (kind === REPORT.PRINT) {
      const count = Math.min(Number(right), MOST_ARGUMENTS);
      const values = Array.from(
        { length: count },
        (_, index) => linear.u64(left + base + BigInt(WORD * index)),
      );
      return this.#print(text, values);
    }
    const place = `${this.#textAt(pointer(RECORD.file) + base)}:${
      view.getUint32(RECORD.line, true)
    }`;
    this.#take(kind, text, place, `left is ${hex(left)}, right is ${hex(right)}`);
  }

  #take(kind: number, text: string, place: string, values: string): void {
    if (this.#isDone) this.#flaw ??= `${place}: a report behind guest_tests_done: ${text}`;
    switch (kind) {
      case REPORT.TEST:
        if (this.#running !== undefined) {
          this.#flaw ??= `the test "${this.#running.name}" has not ended before "${text}" began`;
        }
        this.#end();
        // A step of a Deno test has a name.
        this.#running = { name: text.trim() || place, failures: [], assertions: 0 };
        return;
      case REPORT.DONE:
        this.#isDone = true;
        return;
    }
    const running = this.#running;
    if (running === undefined) {
      this.#flaw ??= `${place}: a report outside of a test: ${text}`;
      return;
    }
    switch (kind) {
      case REPORT.PASSED:
        running.assertions++;
        return;
      case REPORT.FAILED:
        running.assertions++;
        running.failures.push(`${place}: ${text}${values === "" ? "" : `: ${values}`}`);
        return;
      case REPORT.SKIP:
        running.skipped = text;
        return;
      case REPORT.END:
        if (running.assertions === 0 && running.skipped === undefined) {
          running.failures.push(`${place}: it asserted nothing`);
        }
        this.#end();
        return;
      default:
        this.#flaw ??= `${place}: a report of an unknown kind, ${kind}`;
    }
  }

  #end(): void {
    if (this.#running !== undefined) this.#tests.push(this.#running);
    this.#running = undefined;
  }

  #print(format: string, values: readonly (bigint | undefined)[]): void {
    let index = 0;
    this.#output += format.replace(/%(?:l{0,2}([duxpcs])|(%))/g, (all, kind, percent) => {
      if (percent !== undefined) return percent;
      const value = values[index++];
      if (value === undefined) return all;
      switch (kind) {
        case "d":
          return String(BigInt.asIntN(64, value));
        case "x":
          return value.toString(16);
        case "p":
          return hex(value);
        case "c":
          return String.fromCharCode(Number(value & 0xffn));
        case "s":
          return this.#textAt(value + this.#cpu().registers.ds.base);
        default:
          return String(value);
      }
    });
  }

  /** What an operand of NASM's stands for, where that is a register or a number. */
  #operand(text: string): bigint | undefined {
    const { registers, image } = this.#cpu();
    const name = text.trim().toLowerCase();
    const number = /^(0x[\da-f]+|\d+)$/.test(name) ? BigInt(name) : undefined;
    if (number !== undefined) return number;
    if (image.symbols[text.trim()] !== undefined) return image.symbols[text.trim()];
    const value = Reflect.has(registers, name)
      ? Reflect.get(registers, name) as unknown
      : undefined;
    return typeof value === "number" || typeof value === "bigint" ? BigInt(value) : undefined;
  }

  #textAt(address: bigint): string {
    return new TextDecoder().decode(this.#bytesAt(address));
  }

  #bytesAt(address: bigint): Uint8Array {
    const { linear } = this.#cpu();
    return terminatedBytes((index) => linear.u8(address + BigInt(index)), LONGEST_TEXT);
  }
}
