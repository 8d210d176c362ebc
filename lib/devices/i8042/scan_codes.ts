/** A prefix of keys that the first keyboards did not have, in both sets. */
const EXTENDED = 0xe0;

/** The prefix of a key's release in set 2. */
export const RELEASE = 0xf0;

/** Above a code of one byte: it has the prefix. */
const PREFIXED = 0xe000;

/**
 * Scan codes of set 2 by key, as browsers name keys (UI Events, `KeyboardEvent.code`). Those with 0xe0 above have that
 * prefix. Two keys have sequences of their own: {@linkcode SCAN_CODE_SEQUENCES}.
 */
// deno-fmt-ignore
export const SCAN_CODE_SET_2 = {
  Escape: 0x76, F1: 0x05, F2: 0x06, F3: 0x04, F4: 0x0c, F5: 0x03, F6: 0x0b, F7: 0x83, F8: 0x0a, F9: 0x01, F10: 0x09,
  F11: 0x78, F12: 0x07, ScrollLock: 0x7e,
  Backquote: 0x0e, Digit1: 0x16, Digit2: 0x1e, Digit3: 0x26, Digit4: 0x25, Digit5: 0x2e, Digit6: 0x36, Digit7: 0x3d,
  Digit8: 0x3e, Digit9: 0x46, Digit0: 0x45, Minus: 0x4e, Equal: 0x55, Backspace: 0x66,
  Tab: 0x0d, KeyQ: 0x15, KeyW: 0x1d, KeyE: 0x24, KeyR: 0x2d, KeyT: 0x2c, KeyY: 0x35, KeyU: 0x3c, KeyI: 0x43,
  KeyO: 0x44, KeyP: 0x4d, BracketLeft: 0x54, BracketRight: 0x5b, Backslash: 0x5d,
  CapsLock: 0x58, KeyA: 0x1c, KeyS: 0x1b, KeyD: 0x23, KeyF: 0x2b, KeyG: 0x34, KeyH: 0x33, KeyJ: 0x3b, KeyK: 0x42,
  KeyL: 0x4b, Semicolon: 0x4c, Quote: 0x52, Enter: 0x5a,
  ShiftLeft: 0x12, IntlBackslash: 0x61, KeyZ: 0x1a, KeyX: 0x22, KeyC: 0x21, KeyV: 0x2a, KeyB: 0x32, KeyN: 0x31,
  KeyM: 0x3a, Comma: 0x41, Period: 0x49, Slash: 0x4a, ShiftRight: 0x59,
  ControlLeft: 0x14, AltLeft: 0x11, Space: 0x29,
  AltRight: PREFIXED | 0x11, ControlRight: PREFIXED | 0x14, MetaLeft: PREFIXED | 0x1f, MetaRight: PREFIXED | 0x27,
  ContextMenu: PREFIXED | 0x2f,
  Insert: PREFIXED | 0x70, Delete: PREFIXED | 0x71, Home: PREFIXED | 0x6c, End: PREFIXED | 0x69,
  PageUp: PREFIXED | 0x7d, PageDown: PREFIXED | 0x7a,
  ArrowUp: PREFIXED | 0x75, ArrowLeft: PREFIXED | 0x6b, ArrowDown: PREFIXED | 0x72, ArrowRight: PREFIXED | 0x74,
  NumLock: 0x77, NumpadDivide: PREFIXED | 0x4a, NumpadMultiply: 0x7c, NumpadSubtract: 0x7b, NumpadAdd: 0x79,
  NumpadEnter: PREFIXED | 0x5a, NumpadDecimal: 0x71, Numpad0: 0x70, Numpad1: 0x69, Numpad2: 0x72, Numpad3: 0x7a,
  Numpad4: 0x6b, Numpad5: 0x73, Numpad6: 0x74, Numpad7: 0x6c, Numpad8: 0x75, Numpad9: 0x7d,
} as const;

/** Press and release of the two keys that have more than one code. */
export const SCAN_CODE_SEQUENCES = {
  PrintScreen: [[0xe0, 0x12, 0xe0, 0x7c], [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12]],
  Pause: [[0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77], []],
} as const;

/** A key, as browsers name it: `"KeyA"`, `"Enter"`, `"ArrowUp"`. */
export type KeyCode = keyof typeof SCAN_CODE_SET_2 | keyof typeof SCAN_CODE_SEQUENCES;

/** The bytes that a keyboard with set 2 sends. */
export function scanCodes(key: KeyCode, pressed: boolean): readonly number[] {
  if (key === "PrintScreen" || key === "Pause") return SCAN_CODE_SEQUENCES[key][pressed ? 0 : 1];
  const code = SCAN_CODE_SET_2[key];
  const byte = code & 0xff;
  const codes = pressed ? [byte] : [RELEASE, byte];
  return code === byte ? codes : [EXTENDED, ...codes];
}

/** Whether there is such a key. */
export function isKey(key: string): key is KeyCode {
  return Object.hasOwn(SCAN_CODE_SET_2, key) || Object.hasOwn(SCAN_CODE_SEQUENCES, key);
}

/** What a controller makes of set 2's bytes, so that guests see set 1 (IBM PS/2 Technical Reference, table 2-14). */
// deno-fmt-ignore
const TRANSLATION = Uint8Array.of(
  0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
  0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
  0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
  0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
  0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
  0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
  0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
  0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
  0x80, 0x81, 0x82, 0x41, 0x54,
);

/** Translates one byte. Those behind the table, among them a keyboard's answers, stay as they are. */
export function translated(byte: number): number {
  return byte < TRANSLATION.length ? TRANSLATION[byte] : byte;
}

/** The bit of a release in set 1. */
export const SET_1_RELEASE = 0x80;

/** The same bytes in set 1. */
export function inSet1(codes: readonly number[]): number[] {
  const bytes: number[] = [];
  let release = 0;
  for (const code of codes) {
    if (code === RELEASE) {
      release = SET_1_RELEASE;
      continue;
    }
    bytes.push(code === EXTENDED ? code : translated(code) | release);
    release = code === EXTENDED ? release : 0;
  }
  return bytes;
}

/** The keys of characters on a US keyboard: without shift, and with it. */
// deno-fmt-ignore
const CHARACTERS: readonly (readonly [key: KeyCode, plain: string, shifted?: string])[] = [
  ["Backquote", "`", "~"], ["Digit1", "1", "!"], ["Digit2", "2", "@"], ["Digit3", "3", "#"], ["Digit4", "4", "$"],
  ["Digit5", "5", "%"], ["Digit6", "6", "^"], ["Digit7", "7", "&"], ["Digit8", "8", "*"], ["Digit9", "9", "("],
  ["Digit0", "0", ")"], ["Minus", "-", "_"], ["Equal", "=", "+"], ["BracketLeft", "[", "{"],
  ["BracketRight", "]", "}"], ["Backslash", "\\", "|"], ["Semicolon", ";", ":"], ["Quote", "'", '"'],
  ["Comma", ",", "<"], ["Period", ".", ">"], ["Slash", "/", "?"], ["Space", " "], ["Enter", "\n"], ["Tab", "\t"],
  ["Backspace", "\b"], ["Escape", "\x1b"],
];

/** The key of a character on a US keyboard, and whether shift is held; undefined where it has none. */
export function keyOf(character: string): { key: KeyCode; shift: boolean } | undefined {
  if (/^[a-z]$/i.test(character)) {
    const upper = character.toUpperCase();
    return { key: `Key${upper}` as KeyCode, shift: character === upper };
  }
  const found = CHARACTERS.find(([, plain, shifted]) =>
    character === plain || character === shifted
  );
  return found && { key: found[0], shift: found[2] === character };
}
