import type { CoalescedRing } from "../../kvm/coalesced_ring.ts";
import type { HandlerTable } from "./bus.ts";
import { checkWritten, type MmioHandler, type PortHandler } from "../../devices/handlers.ts";
import type { PortRecorder } from "./port_output.ts";

/** The widest value that a handler gets as a number; above, it is a bigint. */
const NUMBER_SIZE = 4;

const WORD_BITS = 32n;

/** What {@linkcode CoalescedWrites} is made of. */
export interface CoalescedWritesInit {
  readonly ring: CoalescedRing;
  readonly ports: HandlerTable<PortHandler>;
  readonly mmio: HandlerTable<MmioHandler>;
  readonly portOutput: PortRecorder;
}

/** The writes that made no exits, on their way from the kernel's ring to the handlers that take them. */
export class CoalescedWrites {
  readonly #parts: CoalescedWritesInit;
  #zones = 0;

  /** Those of one machine. */
  constructor(parts: CoalescedWritesInit) {
    this.#parts = parts;
  }

  /** Counts a zone that is made (+1) or gone (-1): as long as there is none, the ring is not looked at. */
  countZone(change: 1 | -1): void {
    this.#zones += change;
  }

  /** Whether there is a zone. */
  get isUsed(): boolean {
    return this.#zones > 0;
  }

  /** Hands the writes that are in the ring to their handlers, in order. */
  deliver(): void {
    if (this.#zones > 0) this.#parts.ring.drain(this.#take);
  }

  /** Drops what is in the ring: it was not written by then. */
  discard(): void {
    if (this.#zones > 0) this.#parts.ring.drain(() => {});
  }

  readonly #take = (
    isPort: boolean,
    address: number,
    low: number,
    high: number,
    length: number,
  ): void => {
    const { ports, mmio, portOutput } = this.#parts;
    if (isPort) {
      portOutput.add(address, low, length);
      const handler = ports.find(address);
      if (handler?.write === undefined) return;
      checkWritten(handler.write(address, low, length as 1 | 2 | 4), handler);
      return;
    }
    const value = length <= NUMBER_SIZE ? low : BigInt(high) << WORD_BITS | BigInt(low);
    const handler = mmio.find(address);
    if (handler?.write === undefined) return;
    checkWritten(handler.write(address, value, length), handler);
  };
}
