import type { Libc } from "../../ffi/libc.ts";
import { PAGE_SIZE } from "../../ffi/mman.ts";
import type { Vcpu } from "../../kvm/vcpu.ts";
import type { Vm } from "../../kvm/vm.ts";
import { IOAPIC, LAST_PHYSICAL_ADDRESS, LAST_PORT, LOCAL_APIC, PORT } from "../../x86/layout.ts";
import type { Irqchip } from "../interrupts/irqchip.ts";
import { HandlerTable } from "./bus.ts";
import type { MmioHandler, PortHandler } from "../../devices/handlers.ts";
import { CoalescedWrites } from "./coalesced_writes.ts";
import { Interrupts } from "../interrupts/interrupts.ts";
import { type KernelDevice, MachineBus } from "./device_bus.ts";
import type { PortRecorder } from "./port_output.ts";

const PIC_PORTS: readonly KernelDevice[] = [
  { name: "the PIC", first: PORT.picMaster, last: PORT.picMaster + 1 },
  { name: "the PIC", first: PORT.picSlave, last: PORT.picSlave + 1 },
  { name: "the PIC's ELCR", first: PORT.picElcr, last: PORT.picElcr + 1 },
];

const PIT_PORTS: readonly KernelDevice[] = [
  { name: "the PIT", first: PORT.pit, last: PORT.pit + 3 },
  { name: "the PIT's speaker gate", first: PORT.speaker, last: PORT.speaker },
];

/** As much as KVM's IOAPIC listens to (`IOAPIC_MEM_LENGTH`). */
const IOAPIC_PAGE: KernelDevice = { name: "the IOAPIC", first: IOAPIC, last: IOAPIC + 0xff };

const LOCAL_APIC_PAGE: KernelDevice = {
  name: "the local APIC",
  first: LOCAL_APIC,
  last: LOCAL_APIC + PAGE_SIZE - 1,
};

/** What {@linkcode Devices} are made of. */
export interface DevicesInit {
  readonly libc: Libc;
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly irqchip: Irqchip;
  readonly pit: boolean;
  readonly portOutput: PortRecorder;
  /** Throws where a range of physical addresses has RAM. */
  readonly checkIsNoRam: (first: number, last: number) => void;
}

/** What lies around a machine's CPU and memory: its two buses, and the interrupt controllers in the kernel. */
export class Devices implements Disposable {
  /** Who answers ports. */
  readonly portTable: HandlerTable<PortHandler> = new HandlerTable("ports", LAST_PORT);
  /** Who answers physical addresses. */
  readonly mmioTable: HandlerTable<MmioHandler>;
  /** The ports. */
  readonly ports: MachineBus<PortHandler>;
  /** The physical addresses. */
  readonly mmio: MachineBus<MmioHandler>;
  /** The writes that made no exits. */
  readonly coalesced: CoalescedWrites;
  readonly #attachments = new Set<Disposable>();
  readonly #interrupts: Interrupts | undefined;

  /** Those of one machine. */
  constructor({ libc, vm, vcpu, irqchip, pit, portOutput, checkIsNoRam }: DevicesInit) {
    const what = "physical addresses";
    const attachments = this.#attachments;
    this.mmioTable = new HandlerTable(what, LAST_PHYSICAL_ADDRESS, checkIsNoRam);
    const coalesced = this.coalesced = new CoalescedWrites({
      ring: vcpu.coalescedRing,
      ports: this.portTable,
      mmio: this.mmioTable,
      portOutput,
    });
    this.ports = new MachineBus({
      libc,
      vm,
      attachments,
      coalesced,
      table: this.portTable,
      isPort: true,
      kernelDevices: [...irqchip === true ? PIC_PORTS : [], ...pit ? PIT_PORTS : []],
      what: "ports",
      lastAddress: LAST_PORT,
      checkIsNoRam: () => {},
    });
    this.mmio = new MachineBus({
      libc,
      vm,
      attachments,
      coalesced,
      table: this.mmioTable,
      isPort: false,
      kernelDevices: [
        ...irqchip === true ? [IOAPIC_PAGE] : [],
        ...irqchip === false ? [] : [LOCAL_APIC_PAGE],
      ],
      what,
      lastAddress: LAST_PHYSICAL_ADDRESS,
      checkIsNoRam,
    });
    this.#interrupts = irqchip === false
      ? undefined
      : new Interrupts({ libc, vm, isSplit: irqchip === "split", attachments });
  }

  /** See {@linkcode Machine.interrupts}. */
  get interrupts(): Interrupts {
    if (this.#interrupts !== undefined) return this.#interrupts;
    throw new TypeError(
      "Cannot use the interrupt controllers: the machine was booted without them. Boot it with `irqchip: true`.",
    );
  }

  /** Disposes what was handed out and is still open. */
  [Symbol.dispose](): void {
    for (const attachment of [...this.#attachments]) attachment[Symbol.dispose]();
  }
}
