import type { IoctlName } from "../../kvm/abi/ioctls.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { ExitLog } from "./exit_log.ts";

/** How much of a run is recorded, so that it can be repeated. */
export const RECORD_LIMITS = {
  /** Exits. */
  exits: 10_000,
  /** Bytes of all else that came from outside: registers, memory. */
  bytes: 4 << 20,
} as const;

/** Who took an ioctl: the VM, or a CPU, by its number. */
export type IoctlTaker = "vm" | number;

/** Where memory lies in the guest: what KVM is told by its slots. */
export interface SlotLayout {
  /** The slots. */
  readonly slots: readonly {
    /** Its number. */
    readonly slot: number;
    /** Its first guest-physical address. */
    readonly gpa: number;
    /** Bytes. */
    readonly size: number;
    /** Whether the guest's writes are refused. */
    readonly readonly: boolean;
    /** Which memory it shows: a number, in the order of allocation. */
    readonly memory: number;
    /** From where in that memory on. */
    readonly start: number;
  }[];
  /** Whether address line 20 reaches memory. */
  readonly a20: boolean;
}

/** What came to the guest from outside, other than the answers of plain reads. */
type InputContent =
  /** A state-changing ioctl. */
  | {
    readonly kind: "ioctl";
    readonly taker: IoctlTaker;
    readonly name: IoctlName;
    readonly argument: number | Uint8Array<ArrayBuffer>;
  }
  /** The host wrote to memory: that of a number, in the order of allocation. */
  | {
    readonly kind: "memory";
    readonly memory: number;
    readonly start: number;
    readonly bytes: Uint8Array<ArrayBuffer>;
  }
  /** More memory was allocated, which holds zeros. */
  | { readonly kind: "allocated"; readonly size: number }
  /** Memory lies elsewhere now. */
  | { readonly kind: "slots"; readonly layout: SlotLayout }
  /** The answer of an exit that is neither IO nor MMIO, as `kvm_run` holds it. */
  | { readonly kind: "answer"; readonly bytes: Uint8Array<ArrayBuffer> }
  /** All elements of a string read. */
  | { readonly kind: "elements"; readonly bytes: Uint8Array<ArrayBuffer> }
  /** Exits that are not in the log: behind them the guest was run on. */
  | { readonly kind: "unlogged"; readonly reason: number; count: number }
  /** Of several CPUs, whose the next exit of the log is: from then on, as long as nothing else is said. */
  | { readonly kind: "cpu"; readonly cpu: number }
  /** Of several CPUs, one that ran, and was interrupted, nobody knows where, before the next exit of the log. */
  | { readonly kind: "interrupted"; readonly cpu: number }
  /** An exit of the log that KVM did not make: one that was asked for from outside, or a HLT in the kernel. */
  | { readonly kind: "asked"; readonly isHalt: boolean };

/** What the host does to memory. */
export type MemoryInput = Extract<
  InputContent,
  { readonly kind: "memory" | "allocated" | "slots" }
>;

/** One of them, and when it came. */
export type Input = InputContent & {
  /** How many exits the log had by then. */
  readonly exit: number;
  /** Whether KVM had finished the latest of them already. */
  readonly isCompleted: boolean;
  /** Whether a signal had stopped the guest behind it, nobody knows where. */
  readonly isLate: boolean;
};

/** Words of an answer: its low and its high half. */
const ANSWER_WORDS = 2;

/** Answers for which there is room at first. */
const FIRST_ANSWERS = 64;

/** Ioctls that change nothing that a guest sees, and those of memory slots, which are told by their layout. */
const HARMLESS =
  /^KVM_(SET_USER_MEMORY_REGION|GET_|CHECK_|TRANSLATE|CLEAR_DIRTY|RESET_DIRTY|PRE_FAULT|SET_SIGNAL_MASK)/;

/** Says where KVM is to stop the guest. */
const STOPS = "KVM_SET_GUEST_DEBUG" satisfies IoctlName;

/**
 * What came to a machine's guest from outside since its run began, so that the run can be repeated: answers of reads, and
 * what test code and devices did beside. The guest is deterministic but for that, and for time.
 */
export class InputRecord {
  readonly #log: Pick<ExitLog, "total">;
  #isOn = false;
  #answers = new Uint32Array(0);
  #length = 0;
  #inputs: Input[] = [];
  #bytes = 0;
  #completedAt = -1;
  #stoppedAt = -1;
  /** Of several CPUs, whose exits come; which were interrupted, and behind which exit. */
  #cpu = 0;
  readonly #interrupted = new Set<number>();
  #interruptedAt = -1;
  #firstExit = 0;
  #timesBegun = 0;
  #obstacle: string | undefined;
  /** What KVM was told last about stopping the guest. */
  #debug: Uint8Array | undefined;

  /** One that records nothing yet, of the machine that has this log. */
  constructor(log: Pick<ExitLog, "total">) {
    this.#log = log;
  }

  /** Why the run cannot be repeated, as a clause; undefined where it can. */
  get obstacle(): string | undefined {
    if (!this.#isOn) return this.#obstacle ?? "it was not recorded";
    const exits = this.#log.total - this.#firstExit;
    if (exits <= RECORD_LIMITS.exits) return undefined;
    return `it has made ${exits} exits, and ${RECORD_LIMITS.exits} are recorded at most`;
  }

  /** How many exits the log had when the record began. */
  get firstExit(): number {
    return this.#firstExit;
  }

  /** How often it has begun anew. */
  get timesBegun(): number {
    return this.#timesBegun;
  }

  /** What came, in its order. */
  get inputs(): readonly Input[] {
    return this.#inputs;
  }

  /** The answers of plain reads, in their order: two words each. */
  get answers(): Uint32Array {
    return this.#answers.subarray(0, this.#length);
  }

  /** Begins: the guest's state is known otherwise. */
  begin(): void {
    this.#forget();
    this.#obstacle = undefined;
    this.#isOn = true;
    this.#timesBegun++;
    this.#firstExit = this.#log.total;
    this.#completedAt = this.#stoppedAt = this.#interruptedAt = -1;
    this.#cpu = 0;
  }

  /** Ends: what comes from now on is not recorded. */
  end(why?: string): void {
    this.#isOn = false;
    this.#obstacle = why;
    this.#forget();
  }

  #forget(): void {
    this.#length = 0;
    this.#inputs = [];
    this.#bytes = 0;
    this.#debug = undefined;
  }

  /** Notes the answer of the latest exit, a read. */
  answer(low: number, high: number): void {
    const at = this.#length;
    if (at === this.#answers.length && !this.#grow()) return;
    this.#answers[at] = low;
    this.#answers[at + 1] = high;
    this.#length = at + ANSWER_WORDS;
  }

  #grow(): boolean {
    // As many reads as exits: where there are more, there are too many exits.
    if (!this.#isOn || this.#length >= RECORD_LIMITS.exits * ANSWER_WORDS) return false;
    const answers = new Uint32Array(Math.max(2 * this.#length, FIRST_ANSWERS * ANSWER_WORDS));
    answers.set(this.#answers);
    this.#answers = answers;
    return true;
  }

  /** Notes all elements that answer the latest exit, a string read. */
  elements(bytes: Uint8Array): void {
    if (this.#takes(bytes.length)) this.#add({ kind: "elements", bytes: bytes.slice() });
  }

  /** Notes the answer of another exit, as `kvm_run` holds it: a copy. */
  otherAnswer(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#takes(bytes.length)) this.#add({ kind: "answer", bytes });
  }

  /** Has a VM and its CPUs, by number, tell of ioctls that were carried out. */
  observe(
    vm: Pick<Vm, "observer">,
    cpus: readonly { readonly vcpu: Pick<Vcpu, "observer"> }[],
  ): void {
    vm.observer = (name, argument) => this.ioctl("vm", name, argument);
    for (const [number, { vcpu }] of cpus.entries()) {
      vcpu.observer = (name, argument) => this.ioctl(number, name, argument);
    }
  }

  /** Notes an ioctl that was carried out. */
  ioctl(taker: IoctlTaker, name: IoctlName, argument: number | Uint8Array<ArrayBuffer>): void {
    if (name === STOPS && this.#isTold(argument as Uint8Array)) return;
    if (!this.#isOn || HARMLESS.test(name)) return;
    if (typeof argument === "number") {
      if (this.#takes(0)) this.#add({ kind: "ioctl", taker, name, argument });
    } else if (this.#takes(argument.length)) {
      this.#add({ kind: "ioctl", taker, name, argument: argument.slice() });
    }
  }

  /** Whether KVM knows what is to stop the guest: it is told so before each step. */
  #isTold(bytes: Uint8Array): boolean {
    const isTold = bytes.every((byte, index) => byte === (this.#debug?.[index] ?? 0));
    this.#debug = bytes.slice();
    return isTold;
  }

  /** Notes that the host has written to memory. */
  wrote(memory: number, start: number, bytes: Uint8Array): void {
    if (this.#takes(bytes.length)) {
      this.#add({ kind: "memory", memory, start, bytes: bytes.slice() });
    }
  }

  /** Notes that the host has allocated more memory. */
  allocated(size: number): void {
    if (this.#takes(0)) this.#add({ kind: "allocated", size });
  }

  /** Notes where memory lies from now on. */
  placed(layout: SlotLayout): void {
    if (this.#takes(0)) this.#add({ kind: "slots", layout });
  }

  /** Notes an exit that is not in the log, and behind which the guest runs on. */
  unlogged(reason: number): void {
    const last = this.#inputs.at(-1);
    if (
      last?.kind === "unlogged" && last.exit === this.#log.total && last.reason === reason
    ) last.count++;
    else if (this.#takes(0)) this.#add({ kind: "unlogged", reason, count: 1 });
  }

  /** Notes that the next exit of the log is none that KVM makes. */
  asked(isHalt = false): void {
    if (this.#takes(0)) this.#add({ kind: "asked", isHalt });
  }

  /** Notes, of several CPUs, whose an exit is: by its number. */
  exitOf(cpu: number, exit: number): void {
    if (cpu === this.#cpu || !this.#takes(0)) return;
    this.#cpu = cpu;
    this.#add({ kind: "cpu", cpu }, exit - 1);
  }

  /** Notes, of several CPUs, that one was interrupted. */
  interrupted(cpu: number): void {
    const exit = this.#log.total;
    if (this.#interruptedAt !== exit) this.#interrupted.clear();
    this.#interruptedAt = exit;
    if (this.#interrupted.has(cpu) || !this.#takes(0)) return;
    this.#interrupted.add(cpu);
    this.#add({ kind: "interrupted", cpu });
  }

  /** Notes that KVM has finished the latest exit, and run nothing. */
  completed(): void {
    this.#completedAt = this.#log.total;
  }

  /** Notes that a signal has stopped the guest. */
  stopped(): void {
    this.#stoppedAt = this.#log.total;
  }

  /** Whether something of so many bytes is recorded. */
  #takes(bytes: number): boolean {
    if (!this.#isOn) return false;
    this.#bytes += bytes;
    const isWithin = this.#bytes <= RECORD_LIMITS.bytes &&
      this.#inputs.length <= RECORD_LIMITS.exits;
    if (!isWithin) this.end("more came to its guest from outside than is recorded");
    return isWithin;
  }

  #add(content: InputContent, exit = this.#log.total): void {
    const isCompleted = this.#completedAt === exit;
    const isLate = this.#stoppedAt === exit;
    this.#inputs.push({ ...content, exit, isCompleted, isLate });
  }
}
