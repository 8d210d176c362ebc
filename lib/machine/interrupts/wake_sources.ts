import { hex } from "../../x86/hex.ts";
import type { LocalApicState } from "../../x86/apic/local_apic.ts";
import type { InterruptControllers } from "./held_back.ts";
import type { IoapicState } from "./irqchip.ts";

const LINES = 8;
const CASCADE = 2;
const PINS_SHOWN = 4;

/**
 * What could wake a CPU that waits in HLT with RFLAGS.IF set, a line for each controller: which IRQs are not masked, and
 * whether the timer of its local APIC runs (Intel SDM Vol. 3A, 10.5.4). What waits already is not told here.
 */
export function wakeSources({ pic, ioapic, localApic }: InterruptControllers): string[] {
  if (pic === undefined && localApic === undefined) {
    return ["no interrupt controller is there to wake it: vm.inject.interrupt(vector) does"];
  }
  return [
    ...pic === undefined ? [] : [...ofPic(pic, localApic)],
    ...ioapic === undefined ? [] : ofIoapic(ioapic),
    ...localApic === undefined ? [] : ofLocalApic(localApic),
  ];
}

function ofPic(
  { master, slave }: NonNullable<InterruptControllers["pic"]>,
  localApic: LocalApicState | undefined,
): string[] {
  const lint0 = localApic?.lvt.lint0;
  if (lint0 !== undefined && (lint0.masked || lint0.deliveryMode !== "ExtINT")) {
    return ["no IRQ by the 8259As: LINT0 of its local APIC does not take their INTR"];
  }
  const open = Array.from({ length: 2 * LINES }, (_, irq) => irq).filter((irq) =>
    irq < LINES
      ? irq !== CASCADE && !master.imr.includes(irq)
      : !master.imr.includes(CASCADE) && !slave.imr.includes(irq - LINES)
  );
  if (open.length === 0) return ["no IRQ by the 8259As, which mask all"];
  const bases = [master.vectorBase, slave.vectorBase];
  const vectors = bases.every((each) => each === 0)
    ? "which nobody has initialized"
    : `vectors from ${bases.map((each) => hex(each, 2)).join(" and ")} on`;
  return [`IRQ ${ranges(open)} by the 8259As (${vectors})`];
}

function ofIoapic({ pins }: IoapicState): string[] {
  const open = pins.flatMap(({ masked, vector }, pin) => masked ? [] : [{ pin, vector }]);
  if (open.length === 0) return ["no pin of the IOAPIC, which masks all"];
  const shown = open.slice(0, PINS_SHOWN)
    .map(({ pin, vector }) => `pin ${pin} (vector ${hex(vector, 2)})`);
  const others = open.length - shown.length;
  return [`${shown.join(", ")}${others > 0 ? ` and ${others} more` : ""} of the IOAPIC`];
}

function ofLocalApic({ enabled, lvt: { timer: { masked, vector } }, timer }: LocalApicState) {
  const name = "the timer of its local APIC";
  if (!enabled) {
    return [
      "no message, no IPI, no timer by its local APIC, which software has not enabled (SVR, bit 8)",
    ];
  }
  const { mode, initialCount, currentCount } = timer;
  if (masked) return [`not ${name}, which is masked`];
  if (mode === "TSC deadline") return [`${name} (vector ${hex(vector, 2)}) at its TSC deadline`];
  if (initialCount === 0) return [`not ${name}, which was not started: its initial count is 0`];
  return mode === "one-shot" && currentCount === 0
    ? [`not ${name}, which has been: it is one-shot, and its count is 0`]
    : [
      `${name} (vector ${hex(vector, 2)}), ${mode}, with ${currentCount} of ${initialCount} to go`,
    ];
}

/** `"0, 1, 3–7"`. */
function ranges(numbers: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const each of numbers) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === each - 1) last[1] = each;
    else runs.push([each, each]);
  }
  const separator = (first: number, last: number) => last === first + 1 ? ", " : "–";
  return runs.map(([first, last]) =>
    first === last ? `${first}` : `${first}${separator(first, last)}${last}`
  ).join(", ");
}
