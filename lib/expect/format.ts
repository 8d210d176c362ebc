export { formatAddress, hexBytes } from "../x86/hex.ts";
import type { MemoryContent } from "../machine/memory/address_space.ts";
import { hex, hexBytes } from "../x86/hex.ts";

const PRINTABLE = /^[\x20-\x7e\n\r\t]+$/;

/** What would be invisible, would move the reader's cursor, or is no character of an XML report. */
const NOT_SHOWN_AS_IT_IS = /["\\\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\0": "\\0",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

const BYTE_DIGITS = 2;

/** The most bytes that one line shows. */
const MOST_BYTES = 48;

/** The most elements of a call's list of bytes. */
const MOST_ELEMENTS = 8;

/** An integer in hex; a printable character is shown with it. */
export function formatInteger(value: number | bigint): string {
  const isCharacter = value >= 0x20 && value <= 0x7e;
  return isCharacter
    ? `${hex(value)} "${escapeText(String.fromCharCode(Number(value)))}"`
    : hex(value);
}

/**
 * Bytes as text in quotes where they are printable, else in hex; one byte as an integer. Long ones are cut,
 * and say so.
 */
export function formatBytes(bytes: Uint8Array): string {
  if (bytes.length === 1) return formatInteger(bytes[0]);
  const shown = bytes.subarray(0, MOST_BYTES);
  const rest = bytes.length > shown.length ? ` … (${bytes.length} bytes)` : "";
  const text = new TextDecoder("latin1").decode(shown);
  return (PRINTABLE.test(text) ? `"${escapeText(text)}"` : hexBytes(shown)) + rest;
}

/** A byte as two hex digits. */
export function formatByte(byte: number): string {
  return byte.toString(16).padStart(BYTE_DIGITS, "0");
}

/** {@linkcode MemoryContent} as the test wrote it, for the first line of a failure page. */
export function formatContent(content: MemoryContent): string {
  if (typeof content === "string") return formatText(content);
  const shown = Array.from(content.slice(0, MOST_ELEMENTS), (byte) => hex(byte));
  const list = `[${shown.join(", ")}${content.length > shown.length ? ", …" : ""}]`;
  return content instanceof Uint8Array ? `new Uint8Array(${list})` : list;
}

/** A string in quotes, cut where it is long. */
export function formatText(text: string): string {
  const characters = [...text];
  if (characters.length <= MOST_BYTES) return `"${escapeText(text)}"`;
  return `"${
    escapeText(characters.slice(0, MOST_BYTES).join(""))
  }" … (${characters.length} characters)`;
}

/** A text with what cannot be shown as it is in the notation of TypeScript. */
export function escapeText(text: string): string {
  return text.replace(NOT_SHOWN_AS_IT_IS, (character) => {
    const code = character.codePointAt(0)!;
    return ESCAPES[character] ??
      (code <= 0xff ? `\\x${formatByte(code)}` : `\\u{${code.toString(16)}}`);
  });
}

/** `"1 byte"`, `"2 bytes"`. */
export function formatCount(count: number, unit: string): string {
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
