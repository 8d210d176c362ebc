import type { IoctlName } from "../../kvm/abi/ioctls.ts";
import { KVM_IRQCHIP } from "../../kvm/abi/constants.ts";
import { kvm_irqchip, kvm_pit_state2 } from "../../kvm/abi/structs/irqchip.ts";
import { kvm_clock_data } from "../../kvm/abi/structs/vcpu.ts";
import { structBytes } from "../../kvm/ioctl_target.ts";
import type { Vm } from "../../kvm/vm.ts";
import type { Irqchip } from "../interrupts/irqchip.ts";

/** Which controllers and timers of the kernel a machine has. */
export interface KernelDevices {
  /** Its interrupt controllers. */
  readonly irqchip: Irqchip;
  /** Whether it has the interval timer. */
  readonly pit: boolean;
}

/** A piece of the state that the kernel keeps for a VM as a whole, as the kernel gives and takes it. */
export interface VmPiece {
  /** What it is called in documents and files. */
  readonly name: string;
  /** Whether the VM has it. */
  isThere(devices: KernelDevices): boolean;
  /** Reads it. */
  save(vm: Vm): Uint8Array<ArrayBuffer>;
  /** Sets it. */
  restore(vm: Vm, bytes: Uint8Array<ArrayBuffer>): void;
}

function controller(name: string, chip_id: number): VmPiece {
  return {
    name,
    isThere: ({ irqchip }) => irqchip === true,
    save(vm) {
      const bytes = structBytes(kvm_irqchip, { chip_id });
      vm.call("KVM_GET_IRQCHIP", bytes);
      return bytes;
    },
    restore: (vm, bytes) => void vm.call("KVM_SET_IRQCHIP", bytes),
  };
}

function timer(
  name: string,
  size: number,
  [get, set]: readonly [IoctlName, IoctlName],
  isThere: VmPiece["isThere"],
): VmPiece {
  return {
    name,
    isThere,
    save(vm) {
      const bytes = new Uint8Array(new ArrayBuffer(size));
      vm.call(get, bytes);
      return bytes;
    },
    restore: (vm, bytes) => void vm.call(set, bytes),
  };
}

/**
 * The interrupt controllers, which are restored before the CPUs: setting the IOAPIC delivers what waits there, and the
 * local APICs are to be as they were after that.
 */
export const CONTROLLERS: readonly VmPiece[] = [
  controller("PIC 0", KVM_IRQCHIP.PIC_MASTER),
  controller("PIC 1", KVM_IRQCHIP.PIC_SLAVE),
  controller("IOAPIC", KVM_IRQCHIP.IOAPIC),
];

/** The interval timer, which is restored after the CPUs: it begins to count then. */
export const INTERVAL_TIMER: VmPiece = timer(
  "PIT",
  kvm_pit_state2.size,
  ["KVM_GET_PIT2", "KVM_SET_PIT2"],
  ({ pit }) => pit,
);

const FLAGS = kvm_clock_data.offsetOf("flags");

const clock = timer(
  "kvmclock",
  kvm_clock_data.size,
  ["KVM_GET_CLOCK", "KVM_SET_CLOCK"],
  () => true,
);

/** kvmclock, which goes on from where it was: what the kernel says of it beside the time is for moving on with real time. */
export const KVM_CLOCK: VmPiece = {
  ...clock,
  save(vm) {
    const bytes = clock.save(vm);
    new DataView(bytes.buffer).setUint32(FLAGS, 0, true);
    return bytes;
  },
};

/** What the kernel kept for a VM at some time. */
export type SavedVmState = readonly (readonly [piece: VmPiece, bytes: Uint8Array<ArrayBuffer>])[];

/** Reads the pieces that a VM has. */
export function saveVm(
  vm: Vm,
  pieces: readonly VmPiece[],
  devices: KernelDevices,
): SavedVmState {
  return pieces.filter((piece) => piece.isThere(devices)).map((piece) => [piece, piece.save(vm)]);
}

/** Sets them. */
export function restoreVm(vm: Vm, state: SavedVmState): void {
  for (const [piece, bytes] of state) piece.restore(vm, bytes);
}
