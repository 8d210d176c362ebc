import type { Connection } from "../../ffi/socket.ts";
import { addressAfter } from "../memory/address_space.ts";
import { codeBits } from "../registers/code_location.ts";
import { bytesOfInteger, integerOf } from "../registers/vector_register.ts";
import type { History } from "../postmortem/history.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import type { DebuggedMachine, InterruptWhen } from "./debugged_machine.ts";
import { Inferior, SIGNAL, type Stop } from "./inferior.ts";
import { monitor } from "./monitor.ts";
import { POINT, type Point } from "./point.ts";
import { packet, PACKET_SIZE, PacketReader } from "./packets.ts";
import { type GdbRegister, type Target, targetOf } from "./target.ts";

/** Errors by the numbers of errno, as gdb's own stub has them. */
const ERROR = {
  INVALID: "E16",
  FAULT: "E0e",
  PAST: "E.What has been cannot be changed: continue to the present first",
} as const;

/** Packets that set registers and memory. */
const WRITES = /^[GPMX]/;
const OK = "OK";

/** What gdb takes for a packet that is not known here. */
const UNKNOWN = "";

const BYTE_BITS = 8;
const PAGE = 0x1000n;

/** gdb's threads are numbered from 1. */
const FIRST_THREAD = 1;

/** What gdb has said to be able to take, or undefined for what it needs no words for. */
const FEATURES = [
  `PacketSize=${PACKET_SIZE.toString(16)}`,
  ...["QStartNoAckMode+", "qXfer:features:read+", "vContSupported+", "swbreak+", "hwbreak+"],
  ...["ReverseStep+", "ReverseContinue+"],
];

/** How a conversation went on behind a packet. */
type Outcome = { readonly reply: string } | { readonly ends: true; readonly reply?: string };

/** The guest that gdb runs. */
export interface GdbTarget {
  readonly machine: DebuggedMachine;
  /** What has been of it. */
  readonly history: History;
  readonly interruptWhen: InterruptWhen;
}

/** What a conversation is about. */
export interface GdbSessionInit extends GdbTarget {
  readonly connection: Connection;
  /** Why there is one. */
  readonly failure: string | undefined;
}

/** The conversation with a gdb that is attached (the manual of gdb, "Remote Protocol"). */
export class GdbSession implements Disposable {
  readonly #connection: Connection;
  readonly #machine: DebuggedMachine;
  readonly #failure: string | undefined;
  readonly #inferior: Inferior;
  readonly #reader = new PacketReader();
  /** What has come, and was not looked at. */
  readonly #inputs: ReturnType<PacketReader["push"]>[] = [];
  #isInterrupted = false;
  #isGone = false;
  #acknowledges = true;
  #last: Uint8Array<ArrayBuffer> | undefined;
  #target: Target;
  #stop: Stop;
  /** The CPU whose registers gdb asks for. */
  #shown: StoppedCpu;

  /** One with a machine that stands still. */
  constructor({ connection, machine, history, interruptWhen, failure }: GdbSessionInit) {
    this.#connection = connection;
    this.#machine = machine;
    this.#failure = failure;
    this.#inferior = new Inferior(machine, history, interruptWhen, () => this.#hasInterrupt());
    this.#shown = machine.cpus[machine.exitingCpu.number];
    this.#target = targetOf(codeBits(this.#shown.registers));
    this.#stop = { signal: SIGNAL.TRAP, cpu: this.#shown.number };
  }

  /** Talks until gdb lets go of the guest, or is gone. */
  run(): void {
    for (;;) {
      const content = this.#next();
      if (content === undefined) return;
      const outcome = this.#answer(content);
      if (outcome.reply !== undefined) this.#send(outcome.reply);
      if ("ends" in outcome) return;
      if (content === "QStartNoAckMode") this.#acknowledges = false;
    }
  }

  /** Leaves the guest in the present. */
  [Symbol.dispose](): void {
    this.#inferior[Symbol.dispose]();
  }

  /** The next packet; undefined where gdb is gone. */
  #next(): string | undefined {
    for (;;) {
      for (let reader = this.#inputs[0]; reader !== undefined; reader = this.#inputs[0]) {
        const { value: input } = reader.next();
        if (input === undefined) {
          this.#inputs.shift();
          continue;
        }
        if (input.kind === "packet") {
          this.#acknowledge("+");
          return input.content;
        }
        if (input.kind === "damaged") this.#acknowledge("-");
        if (input.kind === "resend" && this.#last !== undefined) this.#connection.send(this.#last);
      }
      if (this.#isGone || !this.#receive()) return undefined;
    }
  }

  #receive(): boolean {
    const bytes = this.#connection.receive();
    if (bytes === undefined) this.#isGone = true;
    else this.#inputs.push(this.#reader.push(bytes));
    return !this.#isGone;
  }

  /** Whether Ctrl-C has come while the guest runs. gdb says nothing else meanwhile; one that is gone stops it, too. */
  #hasInterrupt(): boolean {
    while (!this.#isInterrupted && this.#connection.isReady(0)) {
      if (!this.#receive()) this.#isInterrupted = true;
      for (let reader = this.#inputs.shift(); reader !== undefined; reader = this.#inputs.shift()) {
        for (const { kind } of reader) this.#isInterrupted ||= kind === "interrupt";
      }
    }
    return this.#isInterrupted;
  }

  #acknowledge(how: "+" | "-"): void {
    if (this.#acknowledges) this.#connection.send(new TextEncoder().encode(how));
  }

  #send(content: string): void {
    this.#last = packet(content);
    if (!this.#connection.send(this.#last)) this.#isGone = true;
  }

  #answer(content: string): Outcome {
    const [command] = content;
    const rest = content.slice(1);
    if (WRITES.test(command) && this.#inferior.past !== undefined) return { reply: ERROR.PAST };
    switch (command) {
      case "?":
        return this.#stopReply(this.#stop);
      case "g":
        return { reply: this.#target.registers.map((each) => this.#read(each)).join("") };
      case "G":
        return { reply: this.#writeAll(rest) };
      case "p":
        return { reply: this.#readOne(rest) };
      case "P":
        return { reply: this.#writeOne(rest) };
      case "m":
        return { reply: this.#readMemory(rest) };
      case "M":
      case "X":
        return { reply: this.#writeMemory(rest, command === "X") };
      case "c":
      case "s":
        return this.#resume(command, this.#stop.cpu);
      case "b":
        return this.#reverse(rest);
      case "H":
        return { reply: this.#setThread(rest) };
      case "T":
        return { reply: this.#cpuOf(rest) === undefined ? ERROR.INVALID : OK };
      case "Z":
      case "z":
        return { reply: this.#point(command, rest) };
      case "D":
        return { ends: true, reply: OK };
      case "k":
        return { ends: true };
      case "v":
        return this.#long(rest);
      case "q":
        return this.#query(rest);
      case "Q":
        return { reply: rest === "StartNoAckMode" ? OK : UNKNOWN };
      default:
        return { reply: UNKNOWN };
    }
  }

  #long(rest: string): Outcome {
    if (rest === "Cont?") return { reply: "vCont;c;C;s;S" };
    if (rest.startsWith("Kill")) return { ends: true, reply: OK };
    if (!rest.startsWith("Cont;")) return { reply: UNKNOWN };
    // The leftmost action that names a thread is its own. One that is stepped holds up the others.
    const actions = rest.slice("Cont;".length).split(";").map((action) => action.split(":"));
    const stepped = actions.find(([how]) => /^s/i.test(how));
    if (stepped === undefined) return this.#resume("c", this.#stop.cpu);
    const cpu = stepped[1] === undefined
      ? this.#machine.cpus[this.#stop.cpu]
      : this.#cpuOf(stepped[1]);
    return cpu === undefined ? { reply: ERROR.INVALID } : this.#resume("s", cpu.number);
  }

  #resume(how: string, cpu: number): Outcome {
    return this.#go(() => how === "s" ? this.#inferior.step(cpu) : this.#inferior.continue());
  }

  #reverse(how: string): Outcome {
    if (how !== "s" && how !== "c") return { reply: UNKNOWN };
    return this.#go(() => how === "s" ? this.#inferior.stepBack() : this.#inferior.continueBack());
  }

  #go(body: () => Stop): Outcome {
    this.#isInterrupted = false;
    this.#stop = body();
    this.#shown = this.#stopped;
    return this.#stopReply(this.#stop);
  }

  /** The CPU that has stopped. */
  get #stopped(): StoppedCpu {
    return this.#inferior.past?.cpu ?? this.#machine.cpus[this.#stop.cpu];
  }

  #stopReply({ signal, cpu, point, replay, text }: Stop): Outcome {
    if (this.#isGone) return { ends: true };
    if (text !== undefined) this.#send(`O${toHex(new TextEncoder().encode(`${text}\n`))}`);
    const reason = replay === undefined ? reasonOf(point) : `replaylog:${replay};`;
    return { reply: `T${byte(signal)}thread:${(cpu + FIRST_THREAD).toString(16)};${reason}` };
  }

  #query(rest: string): Outcome {
    const [name, ...given] = rest.split(/[:,]/);
    const { cpus } = this.#machine;
    switch (name) {
      case "Supported":
        return { reply: FEATURES.join(";") };
      case "Attached":
        return { reply: "1" };
      case "C":
        return { reply: `QC${this.#shown.number + FIRST_THREAD}` };
      case "fThreadInfo":
        return {
          reply: `m${cpus.map(({ number }) => (number + FIRST_THREAD).toString(16)).join()}`,
        };
      case "sThreadInfo":
        return { reply: "l" };
      case "ThreadExtraInfo":
        return { reply: this.#threadText(given[0]) };
      case "Rcmd": {
        const text = monitor(new TextDecoder().decode(fromHex(given[0] ?? "")), {
          machine: this.#machine,
          cpu: this.#shown,
          past: this.#inferior.past,
          failure: this.#failure,
        });
        return { reply: toHex(new TextEncoder().encode(`${text}\n`)) };
      }
      case "Xfer":
        return { reply: this.#transfer(given) };
      default:
        return { reply: UNKNOWN };
    }
  }

  #threadText(thread = ""): string {
    const cpu = this.#cpuOf(thread);
    if (cpu === undefined) return ERROR.INVALID;
    return toHex(new TextEncoder().encode(`CPU ${cpu.number}: ${cpu.mpState}`));
  }

  /** The target's description: of what the guest executes now, whatever it did when gdb asked last. */
  #transfer([object, how, annex, at, length]: readonly string[]): string {
    if (object !== "features" || how !== "read" || annex !== "target.xml") return UNKNOWN;
    const [start, count] = [parseInt(at, 16), parseInt(length, 16)];
    if (!(start >= 0 && count > 0)) return ERROR.INVALID;
    if (start === 0) this.#target = targetOf(codeBits(this.#shown.registers));
    const { xml } = this.#target;
    // Characters that are escaped take two bytes; the description has none.
    const part = xml.slice(start, start + Math.min(count, PACKET_SIZE - 1));
    return `${start + part.length < xml.length ? "m" : "l"}${part}`;
  }

  #setThread(rest: string): string {
    const cpu = this.#cpuOf(rest.slice(1));
    if (cpu === undefined) return ERROR.INVALID;
    if (rest.startsWith("g")) this.#shown = cpu;
    return OK;
  }

  /** The CPU of a thread: of 0 and -1, any and all, the one that has stopped. */
  #cpuOf(thread: string): StoppedCpu | undefined {
    const number = parseInt(thread, 16);
    const { past } = this.#inferior;
    if (number === 0 || number === -1 || number === FIRST_THREAD && past !== undefined) {
      return this.#stopped;
    }
    return number > 0 && number <= this.#machine.cpus.length
      ? this.#machine.cpus[number - FIRST_THREAD]
      : undefined;
  }

  #read({ bits, read }: GdbRegister): string {
    return toHex(bytesOfInteger(read(this.#shown.registers), bits / BYTE_BITS));
  }

  #readOne(rest: string): string {
    const register = this.#target.registers[parseInt(rest, 16)];
    return register === undefined ? ERROR.INVALID : this.#read(register);
  }

  #writeOne(rest: string): string {
    const [number, value = ""] = rest.split("=");
    const register = this.#target.registers[parseInt(number, 16)];
    return register === undefined ? ERROR.INVALID : this.#write([[register, value]]);
  }

  #writeAll(digits: string): string {
    let at = 0;
    const given = this.#target.registers.map((register): [GdbRegister, string] => {
      const start = at;
      at += register.bits / (BYTE_BITS / 2);
      return [register, digits.slice(start, at)];
    });
    // All at once has registers in it that gdb has only read: those that have not changed are left alone.
    return this.#write(given.filter(([register, value]) => value !== this.#read(register)));
  }

  #write(given: readonly (readonly [GdbRegister, string])[]): string {
    if (
      given.some(([{ bits }, value]) =>
        !/^([\da-f]{2})*$/i.test(value) || value.length !== bits / 4
      )
    ) {
      return ERROR.INVALID;
    }
    try {
      for (const [register, value] of given) {
        if (register.write === undefined) return ERROR.INVALID;
        register.write(this.#shown.registers, integerOf(fromHex(value)));
      }
      return OK;
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError) return ERROR.INVALID;
      throw error;
    }
  }

  /** As much as is mapped of it, from its beginning on. */
  #readMemory(rest: string): string {
    const [address, length] = rest.split(",").map(hexNumber);
    if (address === undefined || length === undefined) return ERROR.INVALID;
    let digits = "";
    const most = Math.min(Number(length), (PACKET_SIZE - 1) / 2);
    for (let done = 0; done < most;) {
      const at = addressAfter(address, done);
      const size = Math.min(most - done, Number(PAGE - at % PAGE));
      try {
        digits += toHex(this.#shown.linear.read(at, size));
      } catch (error) {
        if (error instanceof RangeError) break;
        throw error;
      }
      done += size;
    }
    return digits === "" && length > 0n ? ERROR.FAULT : digits;
  }

  #writeMemory(rest: string, isBinary: boolean): string {
    const colon = rest.indexOf(":");
    const [address, length] = rest.slice(0, colon).split(",").map(hexNumber);
    if (colon < 0 || address === undefined || length === undefined) return ERROR.INVALID;
    const given = rest.slice(colon + 1);
    const bytes = isBinary ? Uint8Array.from(given, (each) => each.charCodeAt(0)) : fromHex(given);
    if (BigInt(bytes.length) !== length) return ERROR.INVALID;
    if (bytes.length === 0) return OK;
    try {
      this.#shown.linear.write(address, bytes);
      return OK;
    } catch (error) {
      if (error instanceof RangeError) return ERROR.FAULT;
      throw error;
    }
  }

  #point(command: "Z" | "z", rest: string): string {
    const [kind, address, size] = rest.split(/[,;]/).map(hexNumber);
    if (kind === undefined || address === undefined || size === undefined) return ERROR.INVALID;
    const point: Point = { kind: Number(kind), address, size: Number(size) };
    if (command === "z") {
      this.#inferior.remove(point);
      return OK;
    }
    return this.#inferior.insert(point) ? OK : UNKNOWN;
  }
}

/** What the reply about a stop has of the point that the guest came to. */
function reasonOf(point: Point | undefined): string {
  switch (point?.kind) {
    case POINT.SOFTWARE:
      return "swbreak:;";
    case POINT.HARDWARE:
      return "hwbreak:;";
    case POINT.WRITE:
      return `watch:${point.address.toString(16)};`;
    case POINT.ACCESS:
      return `awatch:${point.address.toString(16)};`;
    default:
      return "";
  }
}

function hexNumber(digits: string): bigint | undefined {
  return /^[\da-f]{1,16}$/i.test(digits) ? BigInt(`0x${digits}`) : undefined;
}

function byte(value: number): string {
  return value.toString(16).padStart(2, "0");
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, byte).join("");
}

function fromHex(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
