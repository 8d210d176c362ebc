import { type CType, type Hoisted, hoisted } from "../../ffi/struct.ts";

/** The value of bytes that have no name: nothing. */
export type NoMembers = Record<never, never>;

/**
 * Bytes that the manual reserves: they are neither read nor written, and have no name in a structure's value.
 */
export function reserved(size: number): Hoisted<NoMembers> {
  const type: CType<NoMembers> = {
    size,
    alignment: 1,
    fields: [],
    read: () => ({}),
    write: () => {},
  };
  return hoisted(type);
}
