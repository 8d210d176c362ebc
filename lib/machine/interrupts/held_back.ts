import type { PicState } from "../../devices/pic_state.ts";
import type { LocalApicState } from "../../x86/apic/local_apic.ts";
import { hex } from "../../x86/hex.ts";
import type { IoapicState } from "./irqchip.ts";

/** The interrupt controllers that a CPU hears of: those in the kernel, or a `Pic` among the machine's devices. */
export interface InterruptControllers {
  /** The two 8259As; undefined where there are none. */
  readonly pic: { readonly master: PicState; readonly slave: PicState } | undefined;
  /** The IOAPIC of the kernel's; undefined where there is none. */
  readonly ioapic: IoapicState | undefined;
  /** The CPU's local APIC in the kernel; undefined where there is none. */
  readonly localApic: LocalApicState | undefined;
}

const LINES = 8;
const CASCADE = 2;
const CLASS_SHIFT = 4;

/** By their command ports. */
const CHIPS = {
  master: { name: "the master 8259A", port: 0x20, firstIrq: 0 },
  slave: { name: "the slave 8259A", port: 0xa0, firstIrq: LINES },
} as const;

/** Where EOIs of a local APIC go. */
const APIC_EOI = "EOI register (0xfee000b0, MSR 0x80b)";

/**
 * Which interrupts wait, and what holds them back; which are in service, and have had no EOI. A line each, in the terms of
 * the manuals: IRR, ISR and IMR of the 8259A (Intel 231468), IRR, ISR and TPR of the local APIC (Intel SDM Vol. 3A, 11.8),
 * remote IRR of the IOAPIC (82093AA, 3.2.4). Empty where none waits, and none is in service.
 *
 * @param hasInterruptsEnabled RFLAGS.IF.
 * @param eoiOf Says of a PIC by its command port what is known of its last EOI.
 */
export function heldBack(
  { pic, ioapic, localApic }: InterruptControllers,
  hasInterruptsEnabled: boolean,
  eoiOf: (port: number) => string | undefined = () => undefined,
): string[] {
  const ofPic = pic === undefined ? [] : heldByPic(pic, ioapic, localApic, eoiOf);
  const ofApic = localApic === undefined ? [] : heldByLocalApic(localApic);
  const lines = [...ofPic, ...ofApic, ...ioapic === undefined ? [] : heldByIoapic(ioapic)];
  const reachesCpu = pic !== undefined && isRequested(pic) ||
    localApic !== undefined && localApic.irr.length > 0;
  if (reachesCpu && !hasInterruptsEnabled) lines.push("RFLAGS.IF is clear: the CPU takes none");
  return lines;
}

/** An 8259A's line by its rank: 0 is that of the highest priority. */
function rank({ lowestPriority }: PicState, line: number): number {
  return (line - lowestPriority - 1 + 2 * LINES) % LINES;
}

/** The line in service that holds back another of the same controller; undefined where none does. */
function inServiceBefore(chip: PicState, line: number): number | undefined {
  const blocking = chip.specialMask
    ? chip.isr.filter((each) => !chip.imr.includes(each))
    : chip.isr;
  return blocking.filter((each) => rank(chip, each) <= rank(chip, line))
    .sort((one, other) => rank(chip, one) - rank(chip, other))[0];
}

/** Whether the master asks the CPU. */
function isRequested({ master }: NonNullable<InterruptControllers["pic"]>): boolean {
  return master.irr.some((line) =>
    !master.imr.includes(line) && inServiceBefore(master, line) === undefined
  );
}

function heldByPic(
  { master, slave }: NonNullable<InterruptControllers["pic"]>,
  ioapic: IoapicState | undefined,
  localApic: LocalApicState | undefined,
  eoiOf: (port: number) => string | undefined,
): string[] {
  const lines: string[] = [];
  const blamed = new Set<string>();
  const masked: number[] = [];
  let isAsked = false;
  const behind = (chip: "master" | "slave", line: number) => {
    const { name, port, firstIrq } = CHIPS[chip];
    blamed.add(`${chip} ${line}`);
    const eoi = eoiOf(port);
    return `IRQ ${firstIrq + line}, which is in service at ${name} (ISR ${
      bits({ master, slave }[chip].isr)
    }): ` +
      `it has had no EOI, by port ${hex(port)}${eoi === undefined ? "" : `; ${eoi}`}`;
  };
  for (const chip of ["slave", "master"] as const) {
    const state = { master, slave }[chip];
    const { firstIrq, name } = CHIPS[chip];
    for (const line of state.irr) {
      if (chip === "master" && line === CASCADE) continue;
      const irq = firstIrq + line;
      const waits = `IRQ ${irq} waits at ${name} (IRR ${bits(state.irr)})`;
      if (state.imr.includes(line)) {
        // The other way to the CPU is open.
        if (ioapic?.pins[irq]?.masked !== false) masked.push(irq);
        continue;
      }
      const before = inServiceBefore(state, line);
      const cascade = chip === "slave" ? inServiceBefore(master, CASCADE) : undefined;
      if (before !== undefined) lines.push(`${waits} behind ${behind(chip, before)}`);
      else if (chip === "slave" && master.imr.includes(CASCADE)) {
        lines.push(
          `${waits}: the master masks IRQ 2, by which it is cascaded (IMR ${bits(master.imr)})`,
        );
      } else if (cascade !== undefined) {
        lines.push(`${waits} behind ${behind("master", cascade)}`);
      } else {
        isAsked = true;
        lines.push(waits);
      }
    }
  }
  if (masked.length > 0) {
    lines.push(
      `IRQ ${masked.join(", ")} ${masked.length === 1 ? "waits" : "wait"}, masked at the 8259A ` +
        `(IMR of the master ${bits(master.imr)}, of the slave ${bits(slave.imr)})${
          ioapic === undefined ? "" : ", and by the IOAPIC's redirection entry"
        }`,
    );
  }
  const lint0 = localApic?.lvt.lint0;
  if (isAsked && lint0 !== undefined && (lint0.masked || lint0.deliveryMode !== "ExtINT")) {
    lines.push(
      `the local APIC does not take INTR of the 8259As: LINT0 is ${
        lint0.masked ? "masked" : `of delivery mode ${lint0.deliveryMode}, and not ExtINT`
      }`,
    );
  }
  for (const chip of ["slave", "master"] as const) {
    const state = { master, slave }[chip];
    for (const line of state.isr) {
      if (blamed.has(`${chip} ${line}`)) continue;
      // The cascade is in service for as long as one of the slave's is.
      if (chip === "master" && line === CASCADE && slave.isr.length > 0) continue;
      lines.push(behind(chip, line).replace(", which is", " is"));
    }
  }
  return lines;
}

function heldByLocalApic({ irr, isr, tpr, enabled }: LocalApicState): string[] {
  const inService = isr.at(-1);
  const classOf = (vector: number) => vector >> CLASS_SHIFT;
  const noEoi = (vector: number) =>
    `vector ${hex(vector)}, which is in service there (ISR): it has had no EOI, by the ${APIC_EOI}`;
  const lines = irr.map((vector) => {
    const waits = `vector ${hex(vector)} waits at the local APIC (IRR)`;
    if (!enabled) return `${waits}, which software has not enabled (SVR, bit 8)`;
    if (inService !== undefined && classOf(inService) >= classOf(vector)) {
      return `${waits} behind ${noEoi(inService)}`;
    }
    return classOf(tpr) >= classOf(vector)
      ? `${waits}: its priority class is not above that of TPR (${hex(tpr)})`
      : waits;
  });
  const isTold = lines.some((line) => line.includes(" behind "));
  if (inService !== undefined && !isTold) {
    lines.push(noEoi(inService).replace(", which is", " is").replace("there", "at the local APIC"));
  }
  return lines;
}

function heldByIoapic({ pins }: IoapicState): string[] {
  return pins.flatMap(({ raised, masked, remoteIrr, vector }, pin) => {
    const asserted = `pin ${pin} of the IOAPIC is asserted`;
    if (!raised) return [];
    // Of the others the 8259As know, too.
    if (masked) return pin < 2 * LINES ? [] : [`${asserted}, and masked`];
    return remoteIrr
      ? [`${asserted}, and its remote IRR is set: vector ${hex(vector)} has had no EOI`]
      : [];
  });
}

function bits(lines: readonly number[]): string {
  return hex(lines.reduce((all, line) => all | 1 << line, 0), 2);
}
