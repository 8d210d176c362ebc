import type { Image } from "../guest/image.ts";
import { GuestDebug } from "./run/guest_debug.ts";
import { guestPlace } from "./registers/guest_place.ts";
import { Injection } from "./interrupts/injection.ts";
import { InterruptQueue } from "./interrupts/interrupt_queue.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { RegisterStore } from "./registers/register_store.ts";
import { type Registers, registersOf } from "./registers/registers.ts";

/** What a CPU is made of. */
export interface CpuParts {
  /** The virtual CPU. */
  readonly vcpu: Vcpu;
  /** Its registers. */
  readonly store: RegisterStore;
}

/** A CPU with the ways to its registers, and what a test does to it. */
export interface CpuCore extends CpuParts {
  /** Its number. */
  readonly number: number;
  /** The registers, by every name. */
  readonly registers: Registers;
  /** Breakpoints, watchpoints, and what else stops it for a look. */
  readonly debug: GuestDebug;
  /** Exceptions, interrupts, NMIs and SMIs from outside. */
  readonly inject: Injection;
  /** The interrupts that wait for it. */
  readonly interrupts: InterruptQueue;
}

/** What a CPU's core needs of its machine. */
export interface CpuCoreOwner {
  /** The guest. */
  readonly image: Image;
  /** Whether the guest has a handler of system-management interrupts. */
  readonly hasSmm: boolean;
  /** Whether the kernel has the interrupt controllers, or the local APICs. */
  readonly hasIrqchip: boolean;
  /** Throws where the machine is disposed. */
  readonly checkUsable: (what: string) => void;
  /** Throws where the guest runs, or waits for an answer. */
  readonly checkStopped: (what: string) => void;
}

/** A CPU with the ways to its registers, and what a test does to it beside answering it. */
export function cpuCore(number: number, { vcpu, store }: CpuParts, owner: CpuCoreOwner): CpuCore {
  const { image, hasSmm, hasIrqchip, checkUsable, checkStopped } = owner;
  const registers = registersOf(store);
  const debug = new GuestDebug({
    vcpu,
    nextInstruction: () => BigInt.asUintN(64, registers.cs.base + registers.rip),
    addressOf: (label) => BigInt(image.symbol(label) + guestPlace({ registers, image }).imageBase),
    checkUsable,
  });
  const interrupts = new InterruptQueue(vcpu, () => registers.rflags.if);
  const inject = new Injection({
    vcpu,
    hasSmm,
    registers: () => registers,
    queue: interrupts,
    hasIrqchip,
    checkUsable,
    checkStopped,
  });
  return { number, vcpu, store, registers, debug, inject, interrupts };
}
