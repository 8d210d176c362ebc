import type { Image } from "../../guest/image.ts";
import { hex } from "../../x86/hex.ts";

/** A near jump or call of a place that it names itself, as ndisasm writes it. */
const BRANCH = /^(?:call|j[a-z]+|loop[a-z]*)\b[^[:]* (0x[0-9a-f]+)$/;

/**
 * What an instruction jumps to or calls, by its symbol: `<send+0x3>`; empty where it does not, or goes where there is none.
 *
 * @param text The instruction, with linear addresses.
 * @param imageBase What to subtract from them to have the image's.
 */
export function branchTarget(image: Image, text: string, imageBase: bigint): string {
  const [, target] = BRANCH.exec(text) ?? [];
  const symbol = target && symbolName(image, BigInt(target) - imageBase);
  return symbol ? `<${symbol}>` : "";
}

/** The symbol at an address, demangled: `kernel::main+0x3`; undefined where there is none. */
export function symbolName(image: Image, address: bigint): string | undefined {
  const symbol = image.symbolAt(address);
  if (symbol === undefined) return undefined;
  return symbolText(symbol, image.demangledNames().get(symbol.name));
}

/** Mangled by a compiler of C++ (Itanium C++ ABI, 5.1) or Rust (RFC 2603). */
const MANGLED = /^_[ZR]/;

/**
 * Where code is, in names: its source line and its symbol. Of code that was inlined a row for each function, the
 * innermost first. Empty where nothing is known of it.
 *
 * @param address As the image has it.
 * @param more What to add to the offset in the symbol: 1 of the byte before a return address.
 * @param values What each of the functions was called with, behind its name.
 */
export function placeNames(
  image: Image,
  address: bigint,
  { more = 0, values = [] }: { more?: number; values?: readonly string[] } = {},
): string[] {
  const [frames] = image.framesAt([address]);
  const outermost = frames.at(-1);
  const rows = frames.slice(0, -1).map(({ name, file, line }, index) =>
    `${placeText(file, line)}  ${name ?? "a function"}${values[index] ?? ""}, inlined into`
  );
  const own = frames.length > 1 ? outermost : image.lineOf(address) ?? outermost;
  const symbol = image.symbolAt(address);
  const names = [
    ...own?.line === undefined ? [] : [placeText(own.file, own.line)],
    ...symbol !== undefined
      ? [symbolText({ ...symbol, offset: symbol.offset + more }, outermost?.name)]
      : outermost?.name === undefined
      ? []
      : [outermost.name],
  ];
  return names.length === 0 ? rows : [...rows, names.join("  ") + (values.at(-1) ?? "")];
}

function placeText(file: string | undefined, line: number | undefined): string {
  return `${file ?? "a file that is not named"}:${line ?? "?"}`;
}

function symbolText(
  { name, offset, image }: NonNullable<ReturnType<Image["symbolAt"]>>,
  demangled: string | undefined,
): string {
  const shown = (image === undefined ? "" : `${image}:`) +
    (MANGLED.test(name) ? demangled ?? name : name);
  return offset === 0 ? shown : `${shown}+${hex(offset)}`;
}
