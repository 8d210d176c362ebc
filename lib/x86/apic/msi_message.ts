import { hex } from "../hex.ts";
import { LOCAL_APIC } from "../layout.ts";
import {
  DELIVERY_MODES,
  type DeliveryMode,
  FIRST_APIC_VECTOR,
  LAST_VECTOR,
  type TriggerMode,
} from "./local_apic.ts";

/** A message-signalled interrupt: a write of `data` to `address` (Intel SDM Vol. 3A, 10.11). */
export interface MsiMessage {
  /** A multiple of 4 from 0xfee00000 to 0xfeeffffc. */
  readonly address: number;
  /** 32 bits. */
  readonly data: number;
}

/** What an MSI says, by name (Intel SDM Vol. 3A, 10.11). */
export interface MsiFields {
  /** The vector, 16 to 255. Default 0 for those delivery modes that take none. */
  readonly vector?: number;
  /** The local APIC that gets it: its id, or, where it is logical, a mask. Default 0. */
  readonly destination?: number;
  /** Whether `destination` is compared with logical APIC ids. Default false. */
  readonly logical?: boolean;
  /** Default `"fixed"`. */
  readonly deliveryMode?: DeliveryMode;
  /** Default `"edge"`. */
  readonly trigger?: TriggerMode;
}

const DESTINATION_SHIFT = 12;
const REDIRECTION_HINT = 1 << 3;
const LOGICAL = 1 << 2;
const DELIVERY_SHIFT = 8;
const DELIVERY_MASK = 7;
const ASSERT = 1 << 14;
const LEVEL = 1 << 15;
const VECTOR_MASK = 0xff;
const ADDRESS_SHIFT = 20;
const DWORD_ALIGNMENT = 4;

/**
 * The message of an interrupt (Intel SDM Vol. 3A, 10.11).
 *
 * @param fields Vector, destination and modes; all have defaults.
 * @throws {RangeError} When the vector or the destination does not fit, or there is no such delivery mode.
 *
 * @example
 * ```ts
 * import { msiMessage } from "@vmexit/vmexit/x86";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(msiMessage({ vector: 0x50 }), { address: 0xfee00000, data: 0x50 });
 * assertEquals(msiMessage({ deliveryMode: "NMI", destination: 1 }), { address: 0xfee01000, data: 0x400 });
 * ```
 */
export function msiMessage(fields: MsiFields): MsiMessage {
  const { vector = 0, destination = 0, logical = false, deliveryMode = "fixed", trigger = "edge" } =
    fields;
  const mode = DELIVERY_MODES.indexOf(deliveryMode);
  if (mode < 0) {
    throw new RangeError(
      `Cannot make an MSI with delivery mode ${JSON.stringify(deliveryMode)}: there are ${
        DELIVERY_MODES.join(", ")
      }`,
    );
  }
  checkByte("vector", vector);
  checkByte("destination", destination);
  const message = {
    address: LOCAL_APIC + destination * 2 ** DESTINATION_SHIFT +
      (logical ? LOGICAL | REDIRECTION_HINT : 0),
    data: vector | mode << DELIVERY_SHIFT | (trigger === "level" ? LEVEL | ASSERT : 0),
  };
  checkMsiMessage(message);
  return message;
}

/**
 * Refuses a message that no local APIC takes.
 *
 * @param message The address and the data that a device writes.
 * @throws {RangeError} When the address is not one of local APICs, the data has not 32 bits, or the vector is one
 *   of the exceptions'.
 */
export function checkMsiMessage({ address, data }: MsiMessage): void {
  const isAddress = Number.isSafeInteger(address) && address % DWORD_ALIGNMENT === 0 &&
    Math.floor(address / 2 ** ADDRESS_SHIFT) === LOCAL_APIC / 2 ** ADDRESS_SHIFT;
  if (!isAddress) {
    throw new RangeError(
      `Cannot send an MSI to ${show(address)}: local APICs listen to multiples of 4 from ${
        hex(LOCAL_APIC)
      } to 0xfeeffffc. msiMessage() makes one by name.`,
    );
  }
  if (!(Number.isSafeInteger(data) && data >= 0 && data < 2 ** 32)) {
    throw new RangeError(
      `Cannot send an MSI with data ${show(data)}: it is not a whole number of 32 bits`,
    );
  }
  const mode = DELIVERY_MODES[data >> DELIVERY_SHIFT & DELIVERY_MASK];
  const takesVector = mode === "fixed" || mode === "lowest priority";
  if (takesVector) checkApicVector("send an MSI with", data & VECTOR_MASK);
}

/**
 * Refuses a vector that the APICs do not take (Intel SDM Vol. 3A, 10.5.2).
 *
 * @param what What cannot be done with it: `"send an MSI with"`.
 * @param vector The number that is to be a vector.
 * @throws {RangeError} When it is not from 16 to 255.
 */
export function checkApicVector(what: string, vector: number): void {
  if (Number.isInteger(vector) && vector >= FIRST_APIC_VECTOR && vector <= LAST_VECTOR) return;
  throw new RangeError(
    `Cannot ${what} vector ${show(vector)}: APICs take vectors from ${FIRST_APIC_VECTOR} to ` +
      `${LAST_VECTOR}; those below are exceptions'`,
  );
}

function checkByte(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= LAST_VECTOR) return;
  throw new RangeError(
    `Cannot make an MSI with ${name} ${show(value)}: it is not a whole number of 8 bits`,
  );
}

function show(value: number): string {
  return Number.isSafeInteger(value) ? hex(value) : String(value);
}
