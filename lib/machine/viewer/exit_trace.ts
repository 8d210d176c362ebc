import { PAGE_SIZE } from "../../ffi/mman.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import type { TextScreen } from "../../devices/text_screen.ts";
import type { Exit } from "../../kvm/exits/exit.ts";
import { formatAddress, hex, hexBytes } from "../../x86/hex.ts";
import { describeWalk } from "../../x86/paging/page_walk.ts";
import type { MemorySlots } from "../memory/physical_memory.ts";
import { codeLocation } from "../registers/code_location.ts";
import { exitText } from "../report/exit_text.ts";
import { CodeView, exitingInstruction } from "../report/guest_code.ts";
import { symbolName } from "../report/place_names.ts";
import { isAtResetVector } from "../report/registers_section.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";

/** How many exits a report has at most: the first ones, and, from there on, the last. */
const FIRST_EXITS = 200;
const LAST_EXITS = 1_000;

/** In how many pages it is looked for what has changed. */
const MOST_PAGES = 1_024;

/** How many changed bytes of an exit are shown. */
const MOST_CHANGED = 256;
const STACK_BYTES = 64;
const INSTRUCTIONS = 4;

/** What is said of registers that are those of a reset. */
const RESET = "KVM has reset the CPU";

/** Registers as they are shown, in this order. */
const REGISTERS = [
  ...["rip", "rflags", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
  ...["cs", "ds", "es", "fs", "gs", "ss"],
  ...["cs.base", "ds.base", "ss.base", "gdt.base", "gdt.limit", "idt.base", "idt.limit"],
  ...["cr0", "cr2", "cr3", "cr4", "efer"],
] as const;

/** Where the guest was, in the words of its source. */
export interface TracedPlace {
  /** The linear address. */
  readonly linear: string;
  readonly symbol?: string;
  readonly file?: string;
  readonly line?: number;
  /** The instruction that made the exit, and what follows. */
  readonly code: readonly {
    readonly address: string;
    readonly bytes: string;
    readonly text: string;
  }[];
}

/** Bytes of memory that are others than at the exit before. */
export interface MemoryChange {
  readonly gpa: string;
  readonly before: string;
  readonly after: string;
}

/** An exit as a report has it. */
export interface TracedExit {
  readonly number: number;
  readonly cpu: number;
  readonly reason: string;
  /** The exit in words. */
  readonly text: string;
  /** Milliseconds since the first. */
  readonly time: number;
  /** Who answered it, and what it was in that one's words. */
  answeredBy?: string;
  value?: string;
  description?: string;
  fault?: string;
  /** Those registers that are others than at this CPU's exit before; all at its first, and at its first behind a gap. */
  registers: Readonly<Record<string, string>>;
  place?: TracedPlace;
  stack?: { readonly linear: string; readonly bytes: string };
  /** The walk of the page tables for the instruction. */
  walk: readonly string[];
  /** Of what time the registers are, where they are not those at the exit. */
  note?: string;
  readonly memory: readonly MemoryChange[];
  /** Why not all of what has changed in memory is there. */
  readonly memoryNote?: string;
  /** How much the guest had written to its serial line. */
  readonly serial: number;
  /** The screen, where it is another than before, and at the first exit behind a gap. */
  screen?: string;
}

/** Notes all that can be seen of a guest at each of its exits. It costs far more than an exit does. */
export class ExitTrace {
  /** Whether there is a report that has its latest exit. */
  isReported = false;
  readonly #slots: MemorySlots;
  readonly #screen: TextScreen | undefined;
  readonly #first: TracedExit[] = [];
  #last: TracedExit[] = [];
  #begin: number | undefined;
  #latest: TracedExit | undefined;
  #screenText = "";
  readonly #registers: Map<string, string>[] = [];
  readonly #pages = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #places = new Map<string, TracedPlace>();

  /** That of one machine, whose guest has not run. */
  constructor(slots: MemorySlots, screen: TextScreen | undefined) {
    this.#slots = slots;
    this.#screen = screen;
  }

  /** To be called before each run: what the test has written since is none of the guest's changes. */
  begin(): void {
    this.#memory();
  }

  /** The exits, the oldest first. */
  get exits(): readonly TracedExit[] {
    return [...this.#first, ...this.#last];
  }

  /** Notes the exit that `kvm_run` holds, of a CPU that stands at it, and has not been answered. */
  note(cpu: StoppedCpu, exit: Exit): void {
    const now = performance.now();
    const record = cpu.log.latest!;
    this.finish(cpu);
    const { memory, memoryNote } = this.#memory();
    const traced: TracedExit = {
      number: record.number,
      cpu: cpu.number,
      reason: exit.reason,
      text: exitText(exit),
      time: now - (this.#begin ??= now),
      ...this.#state(cpu),
      note: exit.reason === "SHUTDOWN" && isAtResetVector(cpu) ? RESET : undefined,
      memory,
      memoryNote,
      serial: cpu.hasSerial ? cpu.serial.text.length : 0,
      screen: attempt(() => this.#changedScreen()),
    };
    this.#latest = traced;
    this.isReported = false;
    if (this.#first.length < FIRST_EXITS) this.#first.push(traced);
    else this.#last.push(traced);
    if (this.#last.length === 2 * LAST_EXITS) this.#dropOldest();
  }

  /** Drops exits in the middle; what they had changed is told of those behind them. */
  #dropOldest(): void {
    const [dropped, kept] = [this.#last.slice(0, LAST_EXITS), this.#last.slice(LAST_EXITS)];
    this.#last = kept;
    kept[0].screen ??= dropped.findLast(({ screen }) => screen !== undefined)?.screen;
    this.#registers.forEach((_, cpu) => {
      const isOf = (exit: TracedExit) => exit.cpu === cpu;
      const first = kept.find(isOf);
      if (first === undefined) delete this.#registers[cpu];
      else {
        const all = [...this.#first, ...dropped, first].filter(isOf).map((exit) => exit.registers);
        first.registers = Object.assign({}, ...all);
      }
    });
  }

  /**
   * Shows at the latest exit, where it is a triple fault at which KVM has reset the CPU, the CPU before the instruction that
   * failed.
   *
   * @param find Finds that CPU.
   */
  showCause(find: () => StoppedCpu | undefined): void {
    const traced = this.#latest;
    if (traced?.note !== RESET) return;
    const cpu = find();
    if (cpu === undefined) return;
    this.#registers[traced.cpu] = new Map(
      this.exits.filter((exit) => exit.cpu === traced.cpu && exit !== traced)
        .flatMap(({ registers }) => Object.entries(registers)),
    );
    Object.assign(traced, this.#state(cpu), {
      note: "as it was before the instruction that failed, found by running it once more",
    });
  }

  /** Notes how the latest exit was answered. */
  finish({ log }: Pick<StoppedCpu, "log">): void {
    const traced = this.#latest;
    const record = traced && log.numbered(traced.number);
    if (traced === undefined || record === undefined) return;
    const { answeredBy, value, description, fault, faulted } = record;
    Object.assign(traced, {
      answeredBy,
      value: value === undefined ? undefined : hex(value),
      description,
      fault: fault ?? (faulted ? "#GP(0)" : undefined),
    });
  }

  #state(cpu: StoppedCpu): Pick<TracedExit, "registers" | "place" | "stack" | "walk"> {
    return {
      registers: this.#changedRegisters(cpu),
      place: attempt(() => this.#place(cpu)),
      stack: attempt(() => stackOf(cpu)),
      walk: attempt(() => walkOf(cpu)) ?? [],
    };
  }

  #changedRegisters({ number, registers }: StoppedCpu): Record<string, string> {
    const before = this.#registers[number] ??= new Map();
    const changed: Record<string, string> = {};
    for (const name of REGISTERS) {
      const text = hex(registers.get(name) as bigint | number);
      if (before.get(name) === text) continue;
      before.set(name, text);
      changed[name] = text;
    }
    return changed;
  }

  /** A disassembler is started once for each place. */
  #place(cpu: StoppedCpu): TracedPlace {
    const here = codeLocation(cpu);
    const code = new CodeView(cpu, here);
    const { reason, isWrite } = cpu.log.latestOf(cpu.number) ?? {};
    const key = [here.linear, here.bits, reason, isWrite, code.bytes(here.linear, 1)].join(" ");
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const { image } = cpu;
    const linear = exitingInstruction(cpu, code);
    const line = image.lineOf(linear - here.imageBase);
    const place: TracedPlace = {
      linear: hex(linear),
      symbol: symbolName(image, linear - here.imageBase),
      file: line?.file,
      line: line?.line,
      code: (code.instructions(linear, linear, INSTRUCTIONS) ?? []).slice(0, INSTRUCTIONS)
        .map(({ address, bytes, text }) => ({
          address: hex(address),
          bytes: hexBytes(bytes),
          text,
        })),
    };
    this.#places.set(key, place);
    return place;
  }

  /** What of memory is other than when it was looked at last. */
  #memory(): Pick<TracedExit, "memory" | "memoryNote"> {
    const memory: MemoryChange[] = [];
    const { equal } = processCalls();
    let left = MOST_PAGES;
    let shown = MOST_CHANGED;
    for (const { slot, gpa, readonly, pages } of this.#slots.slots) {
      if (readonly) continue;
      for (const { start, end } of pages.touched()) {
        for (let at = start; at < end; at += PAGE_SIZE) {
          if (left-- === 0) {
            return { memory, memoryNote: `more than ${MOST_PAGES} pages: not all was looked at` };
          }
          const key = `${slot} ${at}`;
          const now = pages.bytes.subarray(at, at + PAGE_SIZE);
          const before = this.#pages.get(key);
          if (before !== undefined && equal(before, now)) continue;
          this.#pages.set(key, now.slice());
          for (const change of changes(before ?? ZEROS, now, gpa + at)) {
            shown -= change.bytes;
            if (shown < 0) {
              return { memory, memoryNote: `only the first ${MOST_CHANGED} bytes are shown` };
            }
            memory.push(change.change);
          }
        }
      }
    }
    return { memory };
  }

  #changedScreen(): string | undefined {
    const text = this.#screen?.text ?? "";
    if (text === this.#screenText) return undefined;
    return this.#screenText = text;
  }
}

const ZEROS = new Uint8Array(PAGE_SIZE);

/** Runs of bytes that differ, with what lies between two that are near. */
function* changes(
  before: Uint8Array,
  after: Uint8Array,
  gpa: number,
): Generator<{ change: MemoryChange; bytes: number }> {
  const NEAR = 4;
  for (let at = 0; at < after.length; at++) {
    if (before[at] === after[at]) continue;
    let end = at + 1;
    for (let next = end; next < Math.min(after.length, end + NEAR); next++) {
      if (before[next] !== after[next]) end = next + 1;
    }
    yield {
      change: {
        gpa: formatAddress(gpa + at),
        before: hexBytes(before.subarray(at, end)),
        after: hexBytes(after.subarray(at, end)),
      },
      bytes: end - at,
    };
    at = end;
  }
}

function stackOf({ registers, linear }: StoppedCpu): TracedExit["stack"] {
  const isLong = registers.efer.lma && registers.cs.l !== 0;
  const base = isLong ? 0n : registers.ss.base;
  const pointer = isLong || registers.ss.db !== 0 ? registers.rsp : BigInt(registers.sp);
  const at = base + pointer;
  return { linear: hex(at), bytes: hexBytes(linear.read(at, STACK_BYTES)) };
}

function walkOf(cpu: StoppedCpu): string[] {
  const { registers, linear } = cpu;
  if (!registers.cr0.pg) return [];
  return describeWalk(linear.walk(codeLocation(cpu).linear));
}

/** What cannot be read is left out. */
function attempt<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
