/** The most that a packet may have, in bytes, which gdb is told (`PacketSize`). */
export const PACKET_SIZE = 0x4000;

const START = "$";
const END = "#";
const ESCAPE = "}";
const ESCAPE_XOR = 0x20;
const INTERRUPT = "\x03";
const NOT_RECEIVED = "-";
const CHECKSUM_MASK = 0xff;
const CHECKSUM_DIGITS = 2;

/** What comes from gdb: a packet's content, a character a byte; Ctrl-C; or a word about packets themselves. */
export type GdbInput =
  | { readonly kind: "packet"; readonly content: string }
  | { readonly kind: "interrupt" | "damaged" | "resend" };

/**
 * Finds packets in a stream of bytes (the manual of gdb, "Remote Protocol: Overview"). Whatever lies between them is
 * passed over, and whatever is wrong about one is a packet that is damaged, for which gdb is asked again.
 */
export class PacketReader {
  /** What of a packet has come; undefined between packets. */
  #packet: string | undefined;

  /** Takes what has come, and gives what is whole. */
  *push(bytes: Uint8Array): Generator<GdbInput, void, void> {
    for (const byte of bytes) {
      const character = String.fromCharCode(byte);
      if (this.#packet === undefined) {
        if (character === START) this.#packet = "";
        else if (character === INTERRUPT) yield { kind: "interrupt" };
        else if (character === NOT_RECEIVED) yield { kind: "resend" };
        continue;
      }
      if (character === START) {
        // An escape stands for one inside of a packet: this begins another.
        this.#packet = "";
        continue;
      }
      this.#packet += character;
      const end = this.#packet.indexOf(END);
      if (end < 0 && this.#packet.length > PACKET_SIZE) {
        this.#packet = undefined;
        yield { kind: "damaged" };
      }
      if (end < 0 || this.#packet!.length <= end + CHECKSUM_DIGITS) continue;
      const content = this.#packet!.slice(0, end);
      const isWhole = this.#packet!.slice(end + 1) === checksum(content);
      this.#packet = undefined;
      yield isWhole ? { kind: "packet", content: unescaped(content) } : { kind: "damaged" };
    }
  }
}

/** A packet on its way to gdb. */
export function packet(content: string): Uint8Array<ArrayBuffer> {
  const escaped = content.replace(
    /[$#}*]/g,
    (each) => ESCAPE + String.fromCharCode(each.charCodeAt(0) ^ ESCAPE_XOR),
  );
  return Uint8Array.from(
    `${START}${escaped}${END}${checksum(escaped)}`,
    (each) => each.charCodeAt(0),
  );
}

function checksum(content: string): string {
  let sum = 0;
  for (let at = 0; at < content.length; at++) sum += content.charCodeAt(at);
  return (sum & CHECKSUM_MASK).toString(16).padStart(CHECKSUM_DIGITS, "0");
}

function unescaped(content: string): string {
  return content.replace(
    /\}([^])/g,
    (_, each: string) => String.fromCharCode(each.charCodeAt(0) ^ ESCAPE_XOR),
  );
}
