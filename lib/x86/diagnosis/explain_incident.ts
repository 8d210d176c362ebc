import { exceptions } from "../exceptions/exceptions.ts";
import { hex } from "../hex.ts";
import { rflagsFlags } from "../registers/flag_tables.ts";
import { getFlag } from "../registers/flags.ts";
import { deliveryChain, type Event } from "./delivery.ts";
import { describeChain, nameOf } from "./describe_delivery.ts";
import { GuestView } from "./guest_view.ts";
import { lastMemoryWriter, lastWriter, sinceWhen } from "./history.ts";
import type { Finding, Incident, NameOfAddress, SeenException } from "./incident.ts";
import { registerFlow } from "./register_flow.ts";
import { raisePageFault } from "./memory_rules.ts";
import { predictException, refusedMsr } from "./predict.ts";
import { cause, type Raised } from "./raised.ts";
import { mayHaveStrayed, straying, wandering } from "./wandering.ts";

/** Findings that a chain has at most. */
const MOST_FINDINGS = 40;
/** Characters that a finding has at most. */
const LONGEST_TEXT = 600;

/**
 * Why a CPU could not go on: the chain from the instruction and its exception to what is behind it, since when that is
 * so, and why nothing could be delivered. It never throws, whatever the registers and the memory hold.
 *
 * @param incident The state right before the instruction that failed.
 * @param names The names of linear addresses.
 * @returns Findings in the order in which they are read, at least one.
 */
export function explainIncident(incident: Incident, names: NameOfAddress): Finding[] {
  const view = new GuestView(incident, names);
  const findings: Finding[] = [];
  let raised: Raised | undefined;
  attempt(findings, () => {
    raised = raisedBy(view);
    return [openingOf(view, raised), ...raised?.causes ?? []];
  });
  attempt(findings, () => historyOf(view, raised));
  attempt(findings, () => wandering(view));
  attempt(findings, () => deliveryOf(view, raised));
  return bounded(findings);
}

/**
 * What is odd about a guest that has stopped elsewhere than at an exception: at an exit that nobody answers, in an endless
 * run. It never throws.
 *
 * @param stopped The state in which it stands, right before an instruction.
 * @param names The names of linear addresses.
 * @returns Findings as those of {@linkcode explainIncident}; none where nothing is odd.
 */
export function explainStop(stopped: Incident, names: NameOfAddress): Finding[] {
  const findings: Finding[] = [];
  const view = new GuestView(stopped, names);
  attempt(findings, () => straying(view));
  attempt(findings, () => registerFlow(view));
  return bounded(findings);
}

/**
 * Why KVM could not carry out the instruction at which a guest has stopped: the exception, or the event, that could not be
 * delivered, where the instruction raises one or one was being delivered; else what is odd. It never throws.
 */
export function explainRefusal(stopped: Incident, names: NameOfAddress): Finding[] {
  const view = new GuestView(stopped, names);
  const findings: Finding[] = [];
  attempt(findings, () => {
    const raised = raisedBy(view);
    const { interrupt, instruction } = stopped;
    const isEvent = interrupt !== undefined || INT_OPCODE.test(instruction.text);
    if (raised === undefined && !isEvent) return [];
    return [
      openingOf(view, raised),
      ...raised?.causes ?? [],
      ...historyOf(view, raised),
      ...deliveryOf(view, raised),
    ];
  });
  if (findings.length === 0) attempt(findings, () => straying(view));
  return bounded(findings);
}

/**
 * Whether the way of a guest that has stopped elsewhere than at an exception is worth a look: it has strayed, or may have.
 * It never throws.
 */
export function isWorthRepeating(stopped: Incident, names: NameOfAddress): boolean {
  try {
    return mayHaveStrayed(new GuestView(stopped, names));
  } catch {
    return false;
  }
}

/** Adds what a part of the explanation finds; one that fails must not hide the others. */
function attempt(findings: Finding[], part: () => readonly Finding[]): void {
  try {
    findings.push(...part());
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    findings.push({ kind: "history", text: `(a part of the explanation failed: ${message})` });
  }
}

/** What must not be told twice: what a segment register holds; that a table is empty, by walks to different addresses. */
function subjectOf({ kind, walk, text }: Finding): string {
  const segment = SEGMENT_TOLD.exec(text)?.[0];
  if (kind === "cause" && segment !== undefined) return segment;
  const last = walk?.levels.at(-1);
  if (kind !== "cause" || last === undefined || !text.startsWith("linear ")) return text;
  return `${last.level} ${last.gpa - last.gpa % TABLE_SIZE} ${last.present}`;
}

const TABLE_SIZE = 4096;
/** How a finding about the descriptor of a segment register begins. */
const SEGMENT_TOLD = /^[C-GS]S = 0x[\da-f]+: /;

function bounded(findings: readonly Finding[]): Finding[] {
  const told = new Set<string>();
  return findings
    .filter((finding) => {
      const subject = subjectOf(finding);
      if (told.has(finding.text) || told.has(subject)) return false;
      told.add(finding.text).add(subject);
      return true;
    })
    .slice(0, MOST_FINDINGS)
    .map((each) =>
      each.text.length > LONGEST_TEXT
        ? { ...each, text: `${each.text.slice(0, LONGEST_TEXT)} …` }
        : each
    );
}

/** The exception of the instruction: the one that was seen, with the rule that predicts it; else the rule's. */
function raisedBy(view: GuestView): Raised | undefined {
  const { exception: seen, interrupt } = view.incident;
  if (interrupt !== undefined) return undefined;
  const predicted = withoutCode(view, predictException(view));
  if (seen === undefined || predicted?.vector === seen.vector) {
    return predicted === undefined ? undefined : { ...predicted, ...seen };
  }
  if (predicted !== undefined && seen.errorCode && predicted.errorCode === seen.errorCode) {
    const { name } = exceptions[predicted.vector];
    const other = cause(`By the manuals it is ${name}: this processor has raised another`);
    return { ...predicted, ...seen, causes: [...predicted.causes, other] };
  }
  return { ...unpredicted(view, seen), ...seen };
}

/** Real mode has no error codes. */
function withoutCode(view: GuestView, raised: Raised | undefined): Raised | undefined {
  return raised !== undefined && view.mode === "real"
    ? { ...raised, errorCode: undefined }
    : raised;
}

/** An exception that was seen and that no rule here predicts. */
function unpredicted(view: GuestView, seen: SeenException): Raised {
  const { name, title } = exceptions[seen.vector] ?? { name: undefined, title: "" };
  if (name === "#PF" && seen.cr2 !== undefined) {
    const walk = view.walk(seen.cr2);
    if (walk !== undefined) {
      return raisePageFault(view, { errorCode: seen.errorCode ?? 0, cr2: seen.cr2 }, walk);
    }
  }
  return (name === "#GP" ? refusedMsr(view) : undefined) ??
    { vector: seen.vector, reason: title, causes: namedEntry(view, seen), registers: [] };
}

/** Bits of an error code that is no selector of the GDT's: of the IDT, or of the LDT. */
const OTHER_TABLE = 0x6;

/** The descriptor that the error code of an exception names. */
function namedEntry(view: GuestView, { errorCode = 0 }: SeenException): Finding[] {
  const lookup = errorCode & OTHER_TABLE || errorCode > 0xffff ? undefined : view.lookUp(errorCode);
  if (lookup?.found !== "descriptor") return [];
  const { descriptor } = lookup;
  return [cause(view.describeEntry(descriptor), { linear: descriptor.linear, descriptor })];
}

/** Where the CPU is as programmers write it: `0008:7c39`, or the address alone in 64-bit mode. */
function location(view: GuestView): string {
  const { instruction: { linear, text }, registers } = view.incident;
  const { cs } = view.special;
  const place = view.mode === "64-bit"
    ? hex(linear)
    : `${cs.selector.toString(16).padStart(4, "0")}:${registers.rip.toString(16).padStart(4, "0")}`;
  const name = view.name(linear);
  return [
    place,
    ...text === "" ? [] : [`\`${text.replaceAll(",", ", ")}\``],
    ...name === undefined ? [] : [name],
  ].join(", ");
}

function openingOf(view: GuestView, raised: Raised | undefined): Finding {
  const { interrupt, instruction: { linear } } = view.incident;
  const finding = (text: string, exception?: SeenException): Finding => ({
    kind: "exception",
    text,
    linear,
    ...exception === undefined ? {} : { exception },
  });
  if (interrupt !== undefined) {
    const { vector, source } = interrupt;
    const what = source === "external"
      ? "an interrupt"
      : source === "nmi"
      ? "an NMI"
      : "a software interrupt";
    const enabled = source === "external" ? `, with RFLAGS.IF = ${Number(view.rflags("if"))}` : "";
    const line = source === "external" && view.mode !== "real" &&
        vector >= BIOS_IRQS.first && vector <= BIOS_IRQS.last
      ? `: IRQ ${vector - BIOS_IRQS.first}, where the PICs are as the BIOS leaves them`
      : "";
    return finding(`Vector ${vector} (${what}) arrived at ${location(view)}${enabled}${line}`);
  }
  const software = INT_OPCODE.exec(view.incident.instruction.text)?.[1];
  if (raised === undefined && software !== undefined) {
    return finding(`Vector ${Number(software)} (a software interrupt) at ${location(view)}`);
  }
  if (raised === undefined) {
    return finding(
      `The CPU could not go on at ${location(view)}; no rule that is known here is broken`,
    );
  }
  const { vector, errorCode, cr2, reason } = raised;
  return finding(`${nameOf(raised)} at ${location(view)}${firstFetch(view, raised)}: ${reason}`, {
    vector,
    ...errorCode === undefined ? {} : { errorCode },
    ...cr2 === undefined ? {} : { cr2 },
  });
}

/** The vectors of the first PIC's lines as a PC's BIOS sets it up, which are exceptions' in protected mode. */
const BIOS_IRQS = { first: 8, last: 15 } as const;

/** Paging that has just been switched on shows itself at the next fetch. */
function firstFetch(view: GuestView, { cr2 }: Raised): string {
  const { steps, instruction } = view.incident;
  const last = steps.at(-1);
  if (cr2 !== instruction.linear || last === undefined) return "";
  const [, register] = /^mov (cr[034])/.exec(last.text) ?? [];
  if (register === undefined) return "";
  const before = last.specialRegisters?.cr0;
  const turnedOn = register === "cr0" && before !== undefined && !(before >> 31n & 1n);
  const name = view.name(last.linear);
  return `, the fetch after \`${last.text.replaceAll(",", ", ")}\`${turnedOn ? " set CR0.PG" : ""}${
    name === undefined ? "" : ` (${name})`
  }`;
}

/** Since when the registers that decided hold their values, and who wrote the memory that did. */
function historyOf(view: GuestView, raised: Raised | undefined): Finding[] {
  const { interrupt, steps } = view.incident;
  if (interrupt !== undefined) return interrupt.source === "external" ? [interruptFlag(view)] : [];
  if (raised === undefined) return [];
  const findings: Finding[] = [...new Set(raised.registers)].map((name) => {
    const index = lastWriter(view, name);
    return {
      kind: "history" as const,
      text: sinceWhen(view, name),
      ...index === undefined ? {} : { linear: steps[index].linear },
    };
  });
  if (raised.memory !== undefined) {
    const { linear, size } = raised.memory;
    const index = lastMemoryWriter(view, linear, size);
    if (index !== undefined) {
      findings.push({
        kind: "history",
        text: `The memory at ${view.place(linear)} was last written by \`${
          steps[index].text
        }\` at ${view.place(steps[index].linear)}`,
        linear: steps[index].linear,
      });
    }
  }
  return findings;
}

/** Since when interrupts are enabled. */
function interruptFlag(view: GuestView): Finding {
  const { steps, registers } = view.incident;
  const isSet = (rflags: bigint) => getFlag(rflagsFlags, "if", rflags) === true;
  const index = steps.findLastIndex((step, at) =>
    isSet(step.registers.rflags) !== isSet((steps[at + 1] ?? { registers }).registers.rflags)
  );
  if (index === -1) {
    const { boot } = view.incident;
    const since = boot !== undefined && isSet(boot.registers.rflags)
      ? "boot"
      : "before the last exit";
    return {
      kind: "history",
      text: `RFLAGS.IF has been ${Number(view.rflags("if"))} since ${since}`,
    };
  }
  const { text, linear } = steps[index];
  return {
    kind: "history",
    text: `RFLAGS.IF was set by \`${text}\` at ${view.place(linear)}`,
    linear,
  };
}

const INT_OPCODE = /^int (0x[\da-f]+)$/;

function deliveryOf(view: GuestView, raised: Raised | undefined): Finding[] {
  const { interrupt, instruction } = view.incident;
  const software = INT_OPCODE.exec(instruction.text)?.[1];
  const event: Event | undefined = interrupt ??
    (raised === undefined
      ? software === undefined
        ? undefined
        : { vector: Number(software), source: "software" as const }
      : { vector: raised.vector });
  if (event === undefined) return [];
  const title = event.source === undefined && raised !== undefined
    ? nameOf(raised)
    : `Vector ${event.vector}`;
  const chain = deliveryChain(view, event);
  const findings = describeChain(view, chain, event, title);
  const others = new Set([
    ...chain.failures.flatMap(({ raised: { registers } }) => registers),
    ...chain.stuck?.registers ?? [],
  ]);
  if (others.has("idtr")) findings.push({ kind: "delivery", text: sinceWhen(view, "idtr") });
  for (const name of others) {
    if (name !== "idtr" && name !== "gdtr" && lastWriter(view, name) !== undefined) {
      findings.push({ kind: "delivery", text: sinceWhen(view, name) });
    }
  }
  return findings;
}
