import type { IoctlReferences } from "../abi/ioctl_references.ts";
import { inAgent } from "./remote_machine.ts";
import { WINDOW } from "./window.ts";

const ADDRESS_SIZE = 8;
const DESCRIPTOR_SIZE = 4;

/** What addresses and descriptors of this process are in the machine. */
export interface Translations {
  /** The address of some bytes in this process. */
  addressOf(bytes: Uint8Array<ArrayBuffer>): bigint;
  /** The offset in the window of an address in this process; negative where it is outside. */
  offsetOf(address: bigint): number;
  /** The number in the machine of a descriptor, where it is one of the machine's. */
  numberOf(fd: number): number;
  /** The number in this process of a descriptor that the machine has made. */
  newDescriptor(number: number): number;
}

/** The argument of an ioctl that has addresses or descriptors in it, on its way to the machine and back. */
export class TranslatedArgument {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #before: Uint8Array;
  readonly #references: IoctlReferences;
  readonly #translations: Translations;

  /** @param bytes The caller's. */
  constructor(
    bytes: Uint8Array<ArrayBuffer>,
    references: IoctlReferences,
    translations: Translations,
  ) {
    this.#bytes = bytes;
    this.#before = bytes.slice();
    this.#references = references;
    this.#translations = translations;
  }

  /**
   * Puts what the machine knows in place of what this process knows, in the bytes as they are at the start of the
   * window's data.
   */
  there(view: DataView): void {
    const { addresses, descriptors } = this.#references;
    const own = addresses.length > 0 ? this.#translations.addressOf(this.#bytes) : 0n;
    for (const at of addresses) {
      const address = view.getBigUint64(at, true);
      const inBytes = Number(address - own);
      const inWindow = this.#translations.offsetOf(address);
      // One that is neither is left to the kernel, which finds nothing there.
      if (inBytes >= 0 && inBytes < this.#bytes.length) {
        view.setBigUint64(at, BigInt(inAgent(WINDOW.data + inBytes)), true);
      } else if (inWindow >= 0) view.setBigUint64(at, BigInt(inAgent(inWindow)), true);
    }
    for (const at of descriptors) {
      view.setInt32(at, this.#translations.numberOf(view.getInt32(at, true)), true);
    }
  }

  /** Puts back what the caller wrote, and numbers a new descriptor for it. The bytes are as the machine left them. */
  back(succeeded: boolean): void {
    const { addresses, descriptors, newDescriptor } = this.#references;
    const restore = (at: number, size: number) =>
      this.#bytes.set(this.#before.subarray(at, at + size), at);
    for (const at of addresses) restore(at, ADDRESS_SIZE);
    for (const at of descriptors) restore(at, DESCRIPTOR_SIZE);
    if (newDescriptor === undefined || !succeeded) return;
    const { offset, unless } = newDescriptor;
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    if ((view.getUint32(unless.offset, true) & unless.flag) !== 0) return;
    view.setInt32(offset, this.#translations.newDescriptor(view.getInt32(offset, true)), true);
  }
}
