import { KVM_MP_STATE } from "../../kvm/abi/constants.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import type { DebugExit } from "../../kvm/exits/exit.ts";
import { asyncError, isPromise } from "../../devices/handlers.ts";
import { codeLines, hidesGates } from "../../guest/code_lines.ts";
import type { Image } from "../../guest/image.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import { emulatorLacks } from "../host/emulated_machine.ts";
import type { LinearMemory } from "../memory/linear_memory.ts";
import type { LoadedImage } from "../memory/loaded_image.ts";
import type { BackedMemory, MemoryPiece } from "../memory/physical_memory.ts";
import type { Registers } from "../registers/registers.ts";
import type { RegisterStore } from "../registers/register_store.ts";
import type { DebugControl } from "../run/guest_debug.ts";
import { beginRecord, coverageFile, endRecord } from "./coverage_record.ts";
import type { Coverage, CoverageMeans, LineCoverage } from "./coverage.ts";
import { CodePoint, copiedPoint } from "./code_point.ts";
import { gateTarget } from "./privilege.ts";
import { OPCODE, TrapBytes } from "./trap_bytes.ts";

const VECTOR_DB = 1;
const VECTOR_BP = 3;
const RPL = 3;
/** No byte: nothing stands in the place of another. */
const NO_TRAP = -1;
const NO_EXCEPTION = { injected: 0, nr: 0, has_error_code: 0, error_code: 0 } as const;
const SHADOW = /^(?:[\w.$@?#~]+\s*:\s*)*(?:sti\b|lss\b|(?:mov\s+|pop\s+)ss\b)/i;

/** A CPU that is watched. */
export interface CoveredCpu {
  readonly vcpu: Vcpu;
  readonly store: RegisterStore;
  readonly registers: Registers;
  readonly linear: LinearMemory;
  readonly debug: DebugControl;
}

/** What is watched. */
export interface CoverageInit {
  readonly image: Image;
  readonly memory: BackedMemory;
  readonly loaded: LoadedImage;
  readonly cpus: readonly CoveredCpu[];
  /** Which interrupt controllers the kernel has; with a local APIC, HLT is no exit. */
  readonly irqchip: boolean | "split";
}

/** An instruction that is executed with its own bytes once, and trapped anew behind that. */
interface OpenGate {
  readonly cpu: CoveredCpu;
  readonly place: MemoryPiece;
  readonly point: CodePoint;
  /** Whether the guest single-steps itself behind it. */
  readonly steps: boolean;
}

/** See {@linkcode Coverage}. The run loop hands it each exit that is neither IO nor MMIO. */
export class CodeCoverage implements Coverage, Disposable {
  #onReach: Coverage["onReach"];
  readonly #parts: CoverageInit;
  readonly #points: readonly CodePoint[];
  readonly #traps: TrapBytes;
  /** By where they were loaded. */
  readonly #byPhysical = new Map<number, CodePoint>();
  readonly #gaps = new Set<string>();
  /** Linear addresses at which a step has ended. */
  readonly #stepped = new Set<bigint>();
  readonly #trapMeans: "int3" | "hlt" | undefined;
  #means: CoverageMeans;
  /** Whether there are traps: they may all have been taken away. */
  #isTrapped: boolean;
  #reached = 0;
  #gate: OpenGate | undefined;

  /** Puts the traps into memory, where the guest was just loaded. */
  constructor(parts: CoverageInit) {
    const { image, memory } = this.#parts = parts;
    this.#points = pointsOf(image);
    this.#means = meansOf(parts);
    this.#trapMeans = this.#means === "step" ? undefined : this.#means;
    this.#isTrapped = this.#trapMeans !== undefined;
    this.#traps = new TrapBytes(memory, OPCODE[this.#trapMeans ?? "hlt"]);
    for (const point of this.#points) {
      const physical = parts.loaded.physicalAt(point.line.address);
      if (physical !== undefined) this.#byPhysical.set(physical, point);
    }
    if (this.#trapMeans === undefined) this.#followSteps();
    else this.#setTraps();
    beginRecord(this);
  }

  /** See {@linkcode Coverage.means}. */
  get means(): CoverageMeans {
    return this.#means;
  }

  /** See {@linkcode Coverage.gaps}. */
  get gaps(): readonly string[] {
    const { taken } = this.#traps;
    const looked = taken === 0 ? [] : [
      "it gave the test memory itself that code is in (vm.memory.view, bytes of a slot)",
    ];
    return [...this.#gaps, ...looked];
  }

  /** See {@linkcode Coverage.reached}. */
  get reached(): number {
    return this.#reached;
  }

  /** See {@linkcode Coverage.lines}. */
  get lines(): readonly LineCoverage[] {
    return this.#points.map(({ line: { isGate: _, ...line }, isReached }) => ({
      ...line,
      isReached,
    }));
  }

  /** See {@linkcode Coverage.onReach}. */
  get onReach(): Coverage["onReach"] {
    return this.#onReach;
  }

  set onReach(listener: Coverage["onReach"]) {
    if (listener !== undefined && typeof listener !== "function") {
      throw new TypeError(
        `Cannot tell what is reached to ${String(listener)}: give a function of the line`,
      );
    }
    this.#onReach = listener;
  }

  /** Looks, before a run, whether the test has moved a CPU to where traps are none. */
  beforeRun(): void {
    if (this.#trapMeans !== "hlt" || !this.#isTrapped) return;
    for (const { registers } of this.#parts.cpus) {
      const isKernel = !registers.cr0.pe ||
        (registers.cs.selector & RPL) === 0 && !registers.rflags.vm;
      if (!isKernel) return this.#goOnBySteps();
    }
  }

  /** Sets the traps that there are to be, where memory is what it was at another time. */
  setTrapsAgain(): void {
    this.#stepped.clear();
    if (this.#gate !== undefined) this.#gate.cpu.debug.endSteps(() => {});
    this.#gate = undefined;
    if (this.#trapMeans === undefined) return;
    this.#traps.lookAgain(
      this.#places(),
      (point) => this.#isTrapped && this.#mayTrap(point) && (!point.isReached || point.line.isGate),
    );
  }

  /** Calls `body` while memory is the guest's own. */
  withoutTraps<Result>(body: () => Result): Result {
    this.#traps.putAllBack();
    try {
      return body();
    } finally {
      this.setTrapsAgain();
    }
  }

  /** Whether the exit in `kvm_run` is a trap's, behind which the guest is to run on as if it were none. */
  takesExit(cpu: CoveredCpu): boolean {
    if (this.#gate?.cpu === cpu) this.#closeGate(this.#gate);
    const { kvmRun } = cpu.vcpu;
    const { exitReason } = kvmRun;
    if (this.#trapMeans === "hlt" && exitReason === EXIT_REASON.HLT) {
      const { cs, rip } = cpu.registers;
      return this.#trapped(cpu, BigInt.asUintN(64, cs.base + rip - 1n));
    }
    if (this.#trapMeans !== "int3" || exitReason !== EXIT_REASON.DEBUG) return false;
    const { exception, pc } = kvmRun.exit() as DebugExit;
    if (exception !== VECTOR_BP) return false;
    if (this.#trapped(cpu, pc)) {
      // It is no step, either.
      kvmRun.exitReason = EXIT_REASON.UNKNOWN;
      return true;
    }
    if (cpu.debug.stopsAtInt3) return false;
    // The guest's own, which KVM gives it where it is asked to (api.rst 4.34): it is delivered as if there were no debugger.
    const { events } = cpu.vcpu;
    events.setVcpuEvents({
      ...events.getVcpuEvents(),
      flags: 0,
      exception: { injected: 1, nr: VECTOR_BP, has_error_code: 0, error_code: 0 },
    });
    kvmRun.exitReason = EXIT_REASON.UNKNOWN;
    return true;
  }

  /** Ends, and is written down, where coverage is recorded. @throws {HostError} When it cannot be written. */
  [Symbol.dispose](): void {
    this.#traps[Symbol.dispose]();
    endRecord(this);
  }

  #setTraps(): void {
    const { memory, cpus } = this.#parts;
    for (const [place, point] of this.#places()) {
      const isLoaded = place.pages.bytes[place.start] === point.original;
      if (isLoaded && this.#mayTrap(point)) this.#traps.set(place, point);
    }
    memory.overlay = this.#traps;
    if (this.#trapMeans !== "int3") return;
    for (const { debug } of cpus) debug.reportInt3();
  }

  #mayTrap(point: CodePoint): boolean {
    return point.original !== this.#traps.opcode && this.#beforeInShadow(point) === undefined;
  }

  #followSteps(): void {
    this.#means = "step";
    this.#gaps.add(
      "it was single-stepped: what its handlers of interrupts and exceptions execute is not seen",
    );
    for (const cpu of this.#parts.cpus) {
      let next = 0n;
      cpu.debug.follow({
        enters: (linear) => {
          next = linear;
          if (!this.#stepped.has(linear) && !this.#hasHalted(cpu)) this.#visit(cpu, linear);
        },
        stepped: () => this.#visit(cpu, next),
      });
    }
  }

  /** Where the points were loaded. */
  *#places(): Generator<readonly [MemoryPiece, CodePoint]> {
    for (const [physical, point] of this.#byPhysical) {
      const place = this.#traps.placeOf(physical);
      if (place !== undefined) yield [place, point];
    }
  }

  /**
   * The instruction before one, where that keeps interrupts off for one more (Intel SDM Vol. 3A, 7.8.3): a HLT there
   * would end that. The two are executed together.
   */
  #beforeInShadow(point: CodePoint): CodePoint | undefined {
    const before = this.#points[point.index - 1];
    if (before === undefined || !SHADOW.test(before.line.text)) return undefined;
    const { address, length } = before.line;
    return address + BigInt(length) === point.line.address ? before : undefined;
  }

  /** Whether there is a trap at a linear address, at which the CPU has stopped. */
  #trapped(cpu: CoveredCpu, linear: bigint): boolean {
    const physical = physicalAt(cpu, linear);
    const place = physical === undefined ? undefined : this.#traps.placeOf(physical);
    if (place === undefined) return false;
    const { opcode } = this.#traps;
    if (place.pages.bytes[place.start] !== opcode) return false;
    const point = this.#trappedPoint(physical!, place);
    if (point === undefined) return false;
    this.#reach(point);
    // The guest's own.
    if (point.original === opcode) return false;
    this.#traps.putBack(place, point);
    if (this.#trapMeans === "hlt") {
      takeBackHlt(cpu);
      if (this.#isTrapped && point.line.isGate) this.#openGate({ cpu, place, point });
    }
    return true;
  }

  /** The instruction at a place that has the trap's opcode: the trap's, the guest's own, or one of a copy of its code. */
  #trappedPoint(physical: number, place: MemoryPiece): CodePoint | undefined {
    const { pages: { bytes }, start } = place;
    const { opcode } = this.#traps;
    const here = this.#byPhysical.get(physical);
    if (here !== undefined && this.#traps.at(place) === here && this.#traps.isThere(place)) {
      return here;
    }
    const isHere = here?.isStillAt(bytes, start, opcode) ?? false;
    if (isHere && here!.original === opcode) return here;
    this.#traps.forget(place);
    // Where the trap is gone, or was none, the guest has such an instruction there itself.
    if (isHere || this.#parts.loaded.byteAt(physical) === opcode) return undefined;
    return copiedPoint(this.#points, bytes, start, opcode);
  }

  /** Whether a CPU waits in the kernel behind a HLT. */
  #hasHalted({ vcpu }: CoveredCpu): boolean {
    return this.#parts.irqchip !== false && vcpu.events.getMpState() === KVM_MP_STATE.HALTED;
  }

  /** A CPU that is stepped is about to execute the instruction at a linear address. */
  #visit(cpu: CoveredCpu, linear: bigint): void {
    if (this.#stepped.has(linear)) return;
    const physical = physicalAt(cpu, linear);
    const place = physical === undefined ? undefined : this.#traps.placeOf(physical);
    if (place === undefined) return;
    this.#stepped.add(linear);
    const { pages: { bytes }, start } = place;
    const here = this.#byPhysical.get(physical!);
    const point = here?.isStillAt(bytes, start, NO_TRAP)
      ? here
      : copiedPoint(this.#points, bytes, start, NO_TRAP);
    if (point !== undefined) this.#reach(point);
  }

  /** Lets an instruction that may lower the privilege be executed, where it does not, and traps it again. */
  #openGate(gate: Omit<OpenGate, "steps">): void {
    const { cpu, place, point } = gate;
    const { pages: { bytes }, start } = place;
    const code = bytes.slice(start, start + point.line.length);
    const { to, steps } = gateTarget(cpu, code, point.line.text);
    if (to === "lower privilege") this.#goOnBySteps();
    else if (to === "own guest") {
      this.#takeAllAway();
      this.#gaps.add("it has run a guest of its own, and nothing was seen from there on");
    } else {
      this.#gate = { ...gate, steps };
      cpu.debug.beginSteps();
    }
  }

  #closeGate({ cpu, place, point, steps }: OpenGate): void {
    this.#gate = undefined;
    // KVM takes the guest's TF away with its own.
    cpu.debug.endSteps(() => {
      if (!steps) return;
      cpu.registers.rflags.tf = true;
      cpu.store.flush();
    });
    const { pages: { bytes }, start } = place;
    const isThere = bytes[start] === point.original &&
      point.isStillAt(bytes, start, this.#traps.opcode);
    if (isThere) this.#traps.set(place, point);
  }

  /** HLT is no exit at CPL 3, but a #GP for the guest. */
  #goOnBySteps(): void {
    this.#takeAllAway();
    this.#followSteps();
  }

  #takeAllAway(): void {
    this.#isTrapped = false;
    this.#traps.putAllBack();
  }

  #reach(point: CodePoint): void {
    if (point.isReached) return;
    point.isReached = true;
    this.#reached++;
    const result = this.#onReach?.(point.line);
    if (isPromise(result)) throw asyncError(result, "tell what is reached to an async function");
    const next = this.#points[point.index + 1];
    if (
      this.#trapMeans !== undefined && next !== undefined && this.#beforeInShadow(next) === point
    ) this.#reach(next);
  }
}

function pointsOf(image: Image): CodePoint[] {
  const points: CodePoint[] = [];
  const lines = codeLines(image);
  const starts = new Set(lines.map(({ address }) => address));
  for (const line of lines) {
    const segment = image.segmentAt(line.address);
    if (segment === undefined) continue;
    const isFilled = line.address - segment.address < BigInt(segment.bytes.length);
    if (isFilled) points.push(new CodePoint(line, points.length, segment, starts));
  }
  return points;
}

/**
 * Reads the option `coverage`.
 *
 * @throws {TypeError} When it asks for that of a guest without source lines.
 */
export function planCoverage(option: boolean | undefined, image: Image): boolean {
  if (option === false || (option === undefined && coverageFile() === undefined)) return false;
  const isKnown = codeLines(image).length > 0;
  if (isKnown || option === undefined) return isKnown;
  throw new TypeError(
    `Cannot measure the coverage of ${image.description}: it has no source lines. Give a guest in assembly, or an ELF ` +
      "file with debug information (-g).",
  );
}

/** The sound one of the means, on the KVM that is used. */
function meansOf({ image, irqchip }: CoverageInit): CoverageMeans {
  if (!emulatorLacks("breakpoints")) return "int3";
  return irqchip === false && !hidesGates(image) ? "hlt" : "step";
}

function physicalAt({ linear: memory }: CoveredCpu, linear: bigint): number | undefined {
  try {
    return memory.toPhysical(linear);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Brings a CPU back before the HLT that it has executed. */
function takeBackHlt({ registers, vcpu: { events }, debug }: CoveredCpu): void {
  registers.rip--;
  if (!registers.rflags.tf || debug.isSingleStepping) return;
  // KVM has queued the guest's own step behind the HLT.
  const pending = events.getVcpuEvents();
  if (pending.exception.nr === VECTOR_DB) {
    events.setVcpuEvents({ ...pending, flags: 0, exception: NO_EXCEPTION });
  }
}
