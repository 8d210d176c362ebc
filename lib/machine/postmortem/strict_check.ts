import type { Image } from "../../guest/image.ts";
import type { Incident } from "../../x86/diagnosis/incident.ts";
import type { Cpu } from "../cpu.ts";
import { KVM_GUESTDBG } from "../../kvm/abi/mod.ts";
import { EXIT_REASON } from "../../kvm/abi/exit_reasons.ts";
import { forgivenException } from "../../x86/diagnosis/forgiven.ts";
import { GuestView, isCode } from "../../x86/diagnosis/guest_view.ts";
import { tableEntries } from "../../x86/diagnosis/descriptors.ts";
import { linearAddressBits } from "../../x86/diagnosis/memory_rules.ts";
import { MSRS } from "../../x86/msrs/msrs.ts";
import { isCanonical } from "../../x86/paging/canonical.ts";
import type { Segment } from "../../x86/registers/segment.ts";
import { emulatedMachineName, emulatorLacks } from "../host/emulated_machine.ts";
import type { Postmortem } from "../report/postmortem.ts";
import type { StoppedCpu } from "../report/stopped_cpu.ts";
import { ForgivenFaultError } from "../run/run_errors.ts";
import { memoryReader } from "../memory/physical_memory.ts";
import { incidentOf } from "./incident_of.ts";
import { RepeatedRun, RepeatError, type RunToRepeat } from "./repeated_run.ts";
import { decoded, type Moment, momentOf, putBack, registersOf } from "./steps.ts";

/** How many instructions of a run are looked at. */
const MOST_STEPS = 3_000;

/** How long that may take, in milliseconds. */
const LONGEST_MILLISECONDS = 2_000;

/** Of a machine that is run again and again, how often. */
const MOST_CHECKS = 3;

/** What 16-bit code reaches, and 32-bit code: the limits of segments that it cannot leave. */
const WHOLE = { 16: 0xffff, 32: 0xffff_ffff } as const;

/** The accessed bit of a code or data segment's type. */
const ACCESSED = 1;

/** What the emulated processor is called on which KVM runs. */
const EMULATOR = "QEMU's emulated processor";

/** Whether the processor that KVM runs on forgives what hardware does not. */
export function forgives(): boolean {
  return emulatedMachineName() !== undefined && emulatorLacks("segmentChecks");
}

/**
 * Finds, in a run that has ended well, what the processors of the manuals do not let through. Only a guest that shows a sign of it
 * is run once more, instruction by instruction: all others cost a look at their registers and their GDT.
 */
export class StrictCheck {
  readonly #what: RunToRepeat;
  readonly #isThorough: boolean;
  #checks = 0;

  /**
   * That of one machine.
   *
   * @param isThorough Whether guests without a sign are run once more, too.
   */
  constructor(what: RunToRepeat, isThorough: boolean) {
    this.#what = what;
    this.#isThorough = isThorough;
  }

  /** @throws {ForgivenFaultError} When it finds something. */
  check(cpu: StoppedCpu): void {
    const { original } = this.#what;
    if (this.#checks === MOST_CHECKS || original.cpus.length > 1) return;
    if (!this.#isThorough && !isSuspicious(original.cpus[0])) return;
    this.#checks++;
    try {
      using run = new RepeatedRun(this.#what, LONGEST_MILLISECONDS);
      const found = this.#find(run);
      if (found !== undefined) throw new ForgivenFaultError(cpu, found, EMULATOR);
    } catch (error) {
      // What cannot be repeated is not known.
      if (!(error instanceof RepeatError)) throw error;
    }
  }

  #find(run: RepeatedRun): Postmortem | undefined {
    const moments: Moment[] = [];
    run.visit = () => {
      if (moments.length === MOST_STEPS) throw new RepeatError("it executes more instructions");
      moments.push(momentOf(run.cpu));
    };
    try {
      run.runTo(this.#what.original.log.total);
    } catch (error) {
      // What was executed until then is looked at.
      if (!(error instanceof RepeatError)) throw error;
    }
    run.visit = undefined;
    run.rest();
    const at = firstForgiven(run, moments);
    if (at === undefined) return undefined;
    const steps = moments.slice(0, at + 1);
    putBack(run.cpu, moments[at]);
    const nothing = { interrupt: undefined, exception: undefined };
    const { bootRegisters } = this.#what.original.cpus[0];
    const incident = incidentOf(run.cpu, { moments: steps, ...nothing }, bootRegisters);
    return {
      cpu: run.cpu,
      incident,
      stepCount: at,
      isMore: false,
      hasStrayed: false,
      doubt: undefined,
    };
  }
}

/** The first of some instructions that breaks a rule, and that this processor has completed. */
function firstForgiven(run: RepeatedRun, moments: readonly Moment[]): number | undefined {
  const texts = decoded(moments).map(({ text }) => text);
  const index = moments.findIndex((moment, index) =>
    forgivenException(viewOf(run.cpu, moment, texts[index])) !== undefined && completes(run, moment)
  );
  return index < 0 ? undefined : index;
}

/** Whether the processor executes an instruction that is still there: without an IDT any exception is a triple fault. */
function completes(run: RepeatedRun, moment: Moment): boolean {
  const { cpu, vcpu } = run;
  run.complete();
  cpu.mpState = "RUNNABLE";
  putBack(cpu, moment);
  if (momentOf(cpu).bytes.join() !== moment.bytes.join()) return false;
  cpu.registers.idt.limit = 0;
  cpu.registers.rflags.if = false;
  cpu.store.flush();
  vcpu.setGuestDebug(KVM_GUESTDBG.ENABLE | KVM_GUESTDBG.SINGLESTEP);
  try {
    return vcpu.run() === 0 && vcpu.kvmRun.exitReason !== EXIT_REASON.SHUTDOWN;
  } finally {
    vcpu.setGuestDebug(0);
    cpu.store.forget();
  }
}

/** Whether a guest shows a sign of having done what emulators let pass. */
function isSuspicious(cpu: Cpu): boolean {
  const { cr0, efer, rflags, cs, ds, es } = cpu.registers;
  if (!cr0.pe) return ds.limit <= WHOLE[16] && hasWideAddresses(cpu.image);
  const view = viewOf(cpu, momentOf(cpu), "");
  if (cr0.am && rflags.ac) return true;
  if (efer.lma && (hasBadAddress(cpu, view) || (cs.l && cs.db))) return true;
  const used = tableEntries(view).map(({ segment }) => segment).filter((each) =>
    isUsed(each, view)
  );
  if (efer.lma && cs.l && !used.some(isCode)) return false;
  if (!(efer.lma && cs.l) && [ds, es].some(({ unusable, selector }) => unusable && selector < 4)) {
    return true;
  }
  const whole = WHOLE[used.some((each) => isCode(each) && each.db) ? 32 : 16];
  return used.some((each) => each.limit < (isCode(each) ? WHOLE[each.db ? 32 : 16] : whole));
}

/** What may be 16-bit code's access with an address of 32 bits: the prefix, others, an opcode that text has seldom. */
const ADDRESS_SIZE = 0x67;
const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0xf2, 0xf3];
const FIRST_NO_TEXT = 0x80;
const TWO_BYTE_OPCODE = 0x0f;

const WIDE = new WeakMap<Image, boolean>();

/** Whether real-mode code may reach behind 64 KiB: with addresses of 32 bits. */
function hasWideAddresses(image: Image): boolean {
  const known = WIDE.get(image) ?? image.segments.some(({ bytes }) => hasWideAddress(bytes));
  WIDE.set(image, known);
  return known;
}

function hasWideAddress(code: Uint8Array): boolean {
  return code.some((byte, at) => {
    if (byte !== ADDRESS_SIZE) return false;
    let opcode = at + 1;
    while (PREFIXES.includes(code[opcode])) opcode++;
    return code[opcode] >= FIRST_NO_TEXT || code[opcode] === TWO_BYTE_OPCODE;
  });
}

const SYSTEM_CALL_MSRS = [MSRS.LSTAR, MSRS.CSTAR, MSRS.KERNEL_GS_BASE];

/** Whether a register holds an address that is not canonical. */
function hasBadAddress({ registers, vcpu }: Cpu, view: GuestView): boolean {
  const { fs, gs, gdt, idt } = registers;
  const addresses = [fs.base, gs.base, gdt.base, idt.base];
  if (registers.efer.sce) {
    addresses.push(...vcpu.msrs.getMsrs(SYSTEM_CALL_MSRS).map(({ data }) => data));
  }
  return addresses.some((each) => !isCanonical(each, linearAddressBits(view)));
}

/** Whether a segment has limits, and has been loaded, as far as its accessed bit tells: QEMU's far jumps do not set it. */
function isUsed(segment: Segment, { mode, special: { cs } }: GuestView): boolean {
  const { s, present, type, l } = segment;
  if (s === 0 || present === 0) return false;
  const isAccessed = (type & ACCESSED) !== 0;
  if (!isCode(segment)) return isAccessed;
  return mode === "64-bit" || mode === "compatibility"
    ? l === 0 && (isAccessed || cs.l === 0)
    : true;
}

/** What rules ask of a moment, in whose memory nothing has to be found by names. */
function viewOf(cpu: Cpu, moment: Moment, text: string): GuestView {
  const { linear, bits, bytes } = moment;
  const incident: Incident = {
    ...registersOf(moment),
    instruction: { linear, bits, bytes, text },
    read: memoryReader(cpu.memory),
    steps: [],
    vendor: "amd",
  };
  return new GuestView(incident, () => undefined);
}
