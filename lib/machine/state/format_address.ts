import { hex } from "../../x86/hex.ts";

/** An address in hex, for messages; what is none is shown as it was given. */
export function formatAddress(address: number | bigint): string {
  const isAddress = (typeof address === "bigint" || Number.isSafeInteger(address)) && address >= 0;
  return isAddress ? hex(address) : String(address);
}
