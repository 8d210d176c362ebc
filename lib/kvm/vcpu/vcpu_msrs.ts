import { kvm_msr_list, kvm_msrs, type KvmMsrEntry } from "../abi/structs/msr.ts";
import { buffer, type IoctlOptions, type IoctlTarget, structBytes } from "../ioctl_target.ts";
import { ERRNO } from "../../ffi/errors.ts";
import type { IoctlName } from "../abi/ioctls.ts";
import { KvmError, MsrError } from "../errors.ts";

/** The model-specific registers of a vCPU. */
export class VcpuMsrs {
  readonly #target: IoctlTarget;

  /** Use {@linkcode Vcpu.msrs}. */
  constructor(target: IoctlTarget) {
    this.#target = target;
  }

  /**
   * MSRs by their numbers, in the order of the list (`KVM_GET_MSRS`, api.rst 4.18).
   *
   * @param indices Their numbers.
   * @throws {MsrError} When one of them cannot be read; it says which.
   */
  getMsrs(indices: readonly number[]): KvmMsrEntry[] {
    return readMsrs(this.#target, indices);
  }

  /**
   * Sets MSRs in the order of the list (`KVM_SET_MSRS`, api.rst 4.19).
   *
   * @param entries Their numbers (`index`) and values (`data`).
   * @throws {MsrError} When one of them is refused; it says which. Those before it are set, those behind it
   * are not.
   */
  setMsrs(entries: readonly { readonly index: number; readonly data: number | bigint }[]): void {
    writeMsrs(this.#target, entries);
  }

  /**
   * MSRs as bytes that {@linkcode VcpuMsrs.setMsrBytes} takes: `struct kvm_msrs`, one behind the other where they are
   * more than the kernel takes at once.
   *
   * @param indices Their numbers, in the order in which they are to be set.
   * @throws {MsrError} When one of them cannot be read; it says which.
   */
  getMsrBytes(indices: readonly number[]): Uint8Array<ArrayBuffer> {
    return readMsrBytes(this.#target, indices);
  }

  /**
   * Sets MSRs from bytes: see {@linkcode VcpuMsrs.getMsrBytes}.
   *
   * @throws {MsrError} When one of them is refused; it says which.
   */
  setMsrBytes(bytes: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length;) {
      const length = view.getUint32(at + NMSRS, true);
      const size = kvm_msrs.sizeFor(length);
      const part = size === bytes.length ? bytes : bytes.subarray(at, at + size);
      const count = this.#target.call("KVM_SET_MSRS", part);
      if (count !== length) {
        const { entries } = kvm_msrs.read(view, at);
        throw new MsrError(
          "KVM_SET_MSRS",
          entries.map(({ index }) => index),
          count,
          entries[count].data,
        );
      }
      at += size;
    }
  }
}

/** Where a `struct kvm_msrs` says how many there are. */
const NMSRS = kvm_msrs.offsetOf("nmsrs");

/** The kernel takes so many in one call: less than MAX_IO_MSRS of its x86.c, which is 256. */
const MOST_MSRS = 255;
const FULL_SIZE = kvm_msrs.sizeFor(MOST_MSRS);

/** Where a `struct kvm_msrs` has the number of its first MSR, and how far that of the next is. */
const FIRST_INDEX = kvm_msrs.offsetOf("entries[0].index");
const ENTRY_SIZE = kvm_msrs.sizeFor(1) - kvm_msrs.sizeFor(0);

/**
 * Reads MSRs, however many.
 *
 * @throws {MsrError} When one of them cannot be read.
 */
export function readMsrs(
  target: IoctlTarget,
  indices: readonly number[],
  options: IoctlOptions = {},
): KvmMsrEntry[] {
  const bytes = readMsrBytes(target, indices, options);
  const view = new DataView(bytes.buffer);
  const read: KvmMsrEntry[] = [];
  for (let at = 0; at < bytes.length; at += FULL_SIZE) {
    read.push(...kvm_msrs.read(view, at).entries);
  }
  return read;
}

/** The same as bytes: one `struct kvm_msrs` behind the other, none but the last with less than the kernel takes at once. */
function readMsrBytes(
  target: IoctlTarget,
  indices: readonly number[],
  options: IoctlOptions = {},
): Uint8Array<ArrayBuffer> {
  const last = indices.length % MOST_MSRS;
  const full = (indices.length - last) / MOST_MSRS;
  const bytes = buffer(full * FULL_SIZE + (last === 0 ? 0 : kvm_msrs.sizeFor(last)));
  const view = new DataView(bytes.buffer);
  for (let done = 0; done < indices.length; done += MOST_MSRS) {
    const at = done / MOST_MSRS * FULL_SIZE;
    const part = bytes.subarray(at, at + FULL_SIZE);
    const length = Math.min(MOST_MSRS, indices.length - done);
    view.setUint32(at + NMSRS, length, true);
    for (let index = 0; index < length; index++) {
      view.setUint32(at + FIRST_INDEX + index * ENTRY_SIZE, indices[done + index], true);
    }
    const count = target.call("KVM_GET_MSRS", part, options);
    if (count < length) throw new MsrError("KVM_GET_MSRS", indices, done + count);
  }
  return bytes;
}

/**
 * Sets MSRs in their order, however many.
 *
 * @throws {MsrError} When one of them is refused; those before it are set.
 */
function writeMsrs(
  target: IoctlTarget,
  entries: readonly { readonly index: number; readonly data: number | bigint }[],
): void {
  for (let done = 0; done < entries.length; done += MOST_MSRS) {
    const part = entries.slice(done, done + MOST_MSRS);
    const bytes = structBytes(kvm_msrs, { entries: part }, part.length);
    const count = target.call("KVM_SET_MSRS", bytes);
    if (count === part.length) continue;
    const list = entries.map(({ index }) => index);
    throw new MsrError("KVM_SET_MSRS", list, done + count, BigInt(part[count].data));
  }
}

/** Asks for a list of MSR numbers: first how many there are, then for them. */
export function msrIndices(
  target: IoctlTarget,
  name: IoctlName & ("KVM_GET_MSR_INDEX_LIST" | "KVM_GET_MSR_FEATURE_INDEX_LIST"),
): number[] {
  const count = structBytes(kvm_msr_list, {});
  try {
    target.call(name, count);
    return [];
  } catch (error) {
    if (!(error instanceof KvmError) || error.errno !== ERRNO.E2BIG) throw error;
  }
  const nmsrs = new DataView(count.buffer).getUint32(kvm_msr_list.offsetOf("nmsrs"), true);
  const bytes = structBytes(kvm_msr_list, { nmsrs }, nmsrs);
  target.call(name, bytes);
  return kvm_msr_list.read(new DataView(bytes.buffer)).indices;
}
