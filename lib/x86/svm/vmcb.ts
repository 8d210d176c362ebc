import { type Struct, struct, type Writable } from "../../ffi/struct.ts";
import { vmcb_control_area, type VmcbControlArea } from "./vmcb_control_area.ts";
import { vmcb_save_area, type VmcbSaveArea } from "./vmcb_save_area.ts";

/** A virtual machine control block, by the manual's names. */
export interface Vmcb {
  /** How the guest runs, and why it left. */
  control: VmcbControlArea;
  /** The guest's registers. */
  save: VmcbSaveArea;
}

/**
 * SVM's virtual machine control block, 4096 bytes: what VMRUN's RAX leads to (AMD APM Vol. 2, 15.5 and
 * Appendix B). Reserved bytes have no name; writing leaves them, and all that is not given, as it was.
 *
 * {@linkcode readVmcb} and {@linkcode writeVmcb} take bytes in place of a `DataView`.
 */
export const vmcb: Struct<Vmcb> = struct("vmcb", {
  control: vmcb_control_area,
  save: vmcb_save_area,
});

/**
 * A VMCB's fields, from its bytes.
 *
 * @param bytes 4096 of them, such as `vm.memory.read(gpa, vmcb.size)`.
 * @throws {RangeError} When there are fewer.
 * @example
 * ```ts
 * import { readVmcb, vmcb, writeVmcb } from "./vmcb.ts";
 * import { svmExitName } from "./exit_codes.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = new Uint8Array(vmcb.size);
 * writeVmcb(bytes, { control: { guest_asid: 1, exitcode: 0x7b }, save: { rip: 0x7c00 } });
 * const { control, save } = readVmcb(bytes);
 * assertEquals([svmExitName(control.exitcode), save.rip], ["VMEXIT_IOIO", 0x7c00n]);
 * ```
 */
export function readVmcb(bytes: Uint8Array): Vmcb {
  return vmcb.read(viewOf(bytes));
}

/**
 * Writes fields of a VMCB, and leaves all others as they are.
 *
 * @param bytes 4096 of them: new ones, or `vm.memory.view(gpa, vmcb.size)`, a guest's own.
 * @throws {RangeError} When there are fewer, or a value does not fit its field.
 * @throws {TypeError} When a name is no field's, or a value of the wrong kind.
 */
export function writeVmcb(bytes: Uint8Array, value: Writable<Vmcb>): void {
  vmcb.write(viewOf(bytes), 0, value);
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
