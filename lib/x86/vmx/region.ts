import { hex } from "../hex.ts";
import type { VmxBasic } from "./vmx_basic.ts";

/** What a region of VMX can be told (Intel SDM Vol. 3C, 24.2 and 24.11.5). */
export interface VmxRegionOptions {
  /** A shadow VMCS, which VMREAD and VMWRITE of a guest reach. Default false. */
  shadow?: boolean;
}

const REVISION_BITS = 31;
const SHADOW_VMCS = 2 ** 31;
const REGION_ALIGNMENT = 4096;

/**
 * A VMXON region as software has to prepare it: zeros behind the revision identifier, bit 31 clear (Intel SDM
 * Vol. 3C, 24.11.5).
 *
 * @param basic What the CPU says ({@linkcode decodeVmxBasic}), or the revision identifier alone.
 * @returns 4096 bytes.
 * @throws {RangeError} When the revision identifier has more than 31 bits.
 * @example
 * ```ts
 * import { vmxonRegion } from "@vmexit/vmexit/vmx";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([...vmxonRegion(0x12).subarray(0, 5)], [0x12, 0, 0, 0, 0]);
 * ```
 */
export function vmxonRegion(
  basic: Pick<VmxBasic, "revision"> | number,
): Uint8Array<ArrayBuffer> {
  const revision = typeof basic === "number" ? basic : basic.revision;
  if (!Number.isInteger(revision) || revision < 0 || revision >= 2 ** REVISION_BITS) {
    throw new RangeError(
      `Cannot use ${
        Number.isInteger(revision) ? hex(revision) : revision
      } as a VMCS revision identifier: it has ${REVISION_BITS} bits; take it from IA32_VMX_BASIC`,
    );
  }
  const bytes = new Uint8Array(REGION_ALIGNMENT);
  new DataView(bytes.buffer).setUint32(0, revision, true);
  return bytes;
}

/**
 * A VMCS as software has to prepare it before VMCLEAR: the revision identifier, the shadow bit, the VMX-abort
 * indicator and data of zeros (Intel SDM Vol. 3C, 24.2). Its fields are written with VMWRITE.
 *
 * @param basic What the CPU says ({@linkcode decodeVmxBasic}), or the revision identifier alone.
 * @returns 4096 bytes.
 * @throws {RangeError} When the revision identifier has more than 31 bits.
 */
export function vmcsRegion(
  basic: Pick<VmxBasic, "revision"> | number,
  { shadow = false }: VmxRegionOptions = {},
): Uint8Array<ArrayBuffer> {
  const bytes = vmxonRegion(basic);
  const view = new DataView(bytes.buffer);
  if (shadow) view.setUint32(0, view.getUint32(0, true) + SHADOW_VMCS, true);
  return bytes;
}

/** What a region of VMX says of itself (Intel SDM Vol. 3C, 24.2). */
export interface VmxRegionHeader {
  /** The VMCS revision identifier. */
  revision: number;
  /** Whether it is a shadow VMCS. */
  shadow: boolean;
  /** The VMX-abort indicator: not 0 after a VM exit went wrong (Intel SDM Vol. 3C, 27.7). */
  abort: number;
}

const ABORT_OFFSET = 4;

/**
 * Reads the first 8 bytes of a VMCS back (Intel SDM Vol. 3C, 24.2).
 *
 * @param bytes 8 of them or more.
 * @throws {RangeError} When there are fewer.
 */
export function readVmcsHeader(bytes: Uint8Array): VmxRegionHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const identifier = view.getUint32(0, true);
  return {
    revision: identifier % SHADOW_VMCS,
    shadow: identifier >= SHADOW_VMCS,
    abort: view.getUint32(ABORT_OFFSET, true),
  };
}
