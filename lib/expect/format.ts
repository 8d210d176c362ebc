const PRINTABLE = /^[\x20-\x7e\n\r\t]+$/;

/** The most bytes that one line shows. */
const MOST_BYTES = 48;

/** An integer in hex; a printable character is shown with it. */
export function formatInteger(value: bigint): string {
  const hex = value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
  const character = value >= 0x20n && value <= 0x7en
    ? ` ${JSON.stringify(String.fromCharCode(Number(value)))}`
    : "";
  return hex + character;
}

/** Bytes as text in quotes where they are printable, else in hex. Long ones are cut, and say so. */
export function formatBytes(bytes: Uint8Array): string {
  const shown = bytes.subarray(0, MOST_BYTES);
  const rest = bytes.length > shown.length ? ` … (${bytes.length} bytes)` : "";
  const text = new TextDecoder("latin1").decode(shown);
  if (PRINTABLE.test(text)) return JSON.stringify(text) + rest;
  return Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join(" ") + rest;
}

/** An address in hex. */
export function formatAddress(address: number): string {
  return `0x${address.toString(16)}`;
}
