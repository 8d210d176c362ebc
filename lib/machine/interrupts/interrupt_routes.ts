import type { Writable } from "../../ffi/struct.ts";
import { KVM, KVM_IRQ_ROUTING, KVM_IRQCHIP } from "../../kvm/abi/constants.ts";
import type { KvmIrqRoutingEntry } from "../../kvm/abi/structs/irq.ts";
import { checkMsiMessage, type MsiMessage } from "../../x86/apic/msi_message.ts";

/** Where a GSI goes: to a pin of a controller in the kernel, or to the local APICs as a message. */
export type InterruptRoute =
  & {
    /** The GSI (global system interrupt): a number from 0 to 4095. */
    readonly gsi: number;
  }
  & (
    | {
      /** A line of the PICs: 0 to 7 of the master, 8 to 15 of the slave. */
      readonly pic: number;
    }
    | {
      /** A pin of the IOAPIC: 0 to 23. */
      readonly ioapic: number;
    }
    | {
      /** The message. */
      readonly msi: MsiMessage;
    }
  );

/** Lines of one PIC. */
const PIC_LINES = 8;

const WORD = 2 ** 32;

/** The GSIs of a machine as it is booted: the lines of both PICs, and the pins of the IOAPIC. */
export function defaultGsis(): Set<number> {
  return new Set(Array.from({ length: KVM.IOAPIC_NUM_PINS }, (_, pin) => pin));
}

/**
 * Routes as KVM takes them.
 *
 * @param most How many routes, and GSIs, the kernel takes: the value of KVM_CAP_IRQ_ROUTING.
 * @param isSplit Whether only the local APICs are in the kernel.
 * @throws {RangeError} When a GSI or a pin does not exist, or two routes are in each other's way.
 * @throws {TypeError} When a route has none of, or more than one of, `pic`, `ioapic` and `msi`; or a pin of a
 *   controller that is not in the kernel.
 */
export function routingEntries(
  routes: readonly InterruptRoute[],
  most: number,
  isSplit: boolean,
): Writable<KvmIrqRoutingEntry>[] {
  if (routes.length > most) {
    throw new RangeError(
      `Cannot route ${routes.length} interrupts: KVM takes ${most} routes (KVM_CAP_IRQ_ROUTING)`,
    );
  }
  const entries = routes.map((route) => routingEntry(route, most, isSplit));
  checkConflicts(entries);
  return entries;
}

function routingEntry(
  route: InterruptRoute,
  most: number,
  isSplit: boolean,
): Writable<KvmIrqRoutingEntry> {
  const { gsi } = route;
  checkNumber(`GSI ${gsi}`, gsi, most, "GSIs");
  const targets = ["pic", "ioapic", "msi"].filter((name) => name in route);
  if (targets.length !== 1) {
    throw new TypeError(
      `Cannot route GSI ${gsi}: it takes one of pic, ioapic and msi, and has ${
        targets.join(" and ") || "none"
      }. Give a GSI with two targets two routes.`,
    );
  }
  if ("msi" in route) {
    checkMsiMessage(route.msi);
    const { address, data } = route.msi;
    const msi = { address_lo: address % WORD, address_hi: Math.floor(address / WORD), data };
    return { gsi, type: KVM_IRQ_ROUTING.MSI, u: { msi } };
  }
  if (isSplit) {
    throw new TypeError(
      `Cannot route GSI ${gsi} to a pin: the machine was booted with \`irqchip: "split"\`, so that its PICs and ` +
        "its IOAPIC are not in the kernel. Route it to an msi, or boot it with `irqchip: true`.",
    );
  }
  if ("ioapic" in route) {
    checkNumber(
      `GSI ${gsi} to IOAPIC pin ${route.ioapic}`,
      route.ioapic,
      KVM.IOAPIC_NUM_PINS,
      "pins",
    );
    const irqchip = { irqchip: KVM_IRQCHIP.IOAPIC, pin: route.ioapic };
    return { gsi, type: KVM_IRQ_ROUTING.IRQCHIP, u: { irqchip } };
  }
  checkNumber(`GSI ${gsi} to PIC line ${route.pic}`, route.pic, 2 * PIC_LINES, "lines");
  const irqchip = {
    irqchip: route.pic < PIC_LINES ? KVM_IRQCHIP.PIC_MASTER : KVM_IRQCHIP.PIC_SLAVE,
    pin: route.pic % PIC_LINES,
  };
  return { gsi, type: KVM_IRQ_ROUTING.IRQCHIP, u: { irqchip } };
}

/** KVM takes a GSI once for each controller, or once for a message. */
function checkConflicts(entries: readonly Writable<KvmIrqRoutingEntry>[]): void {
  const seen = new Map<number, Set<number | undefined>>();
  for (const { gsi = 0, u } of entries) {
    const chip = u?.irqchip?.irqchip;
    const chips = seen.get(gsi) ?? new Set();
    const isMessage = chip === undefined && chips.size > 0;
    if (isMessage || chips.has(chip) || chips.has(undefined)) {
      throw new RangeError(
        `Cannot route GSI ${gsi} twice: a GSI goes to one message, or to one pin of each controller`,
      );
    }
    seen.set(gsi, chips.add(chip));
  }
}

function checkNumber(what: string, value: number, count: number, of: string): void {
  if (Number.isInteger(value) && value >= 0 && value < count) return;
  throw new RangeError(`Cannot route ${what}: there are ${of} 0 to ${count - 1}`);
}
