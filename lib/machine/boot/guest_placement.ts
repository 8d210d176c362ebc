import { AsmSource } from "../../guest/asm_source.ts";
import { Image } from "../../guest/image.ts";
import { type Address, checkAddress } from "../../guest/address.ts";
import type { BootLayout, ModeDefaults } from "../../x86/boot/boot_state.ts";
import type { Mode } from "../../x86/boot/cpu_state.ts";
import type { BootOptions, Guest } from "./boot_options.ts";

/** Bytes from one selector to the next in real mode. */
const PARAGRAPH = 16;

/** A guest with its place: what is loaded where, and where it starts. */
export interface GuestPlacement {
  /** The guest, assembled. */
  readonly image: Image;
  /** The physical address of its first byte, where that is not what the page tables make of its origin. */
  readonly loadAddress: number | undefined;
  /** The linear address at which it starts. */
  readonly entry: bigint;
  /** What the mode's boot state is told. */
  readonly layout: BootLayout;
}

/**
 * Assembles a guest for its place, and finds where it starts.
 *
 * @throws {AssemblyError} When NASM refuses it.
 * @throws {RangeError} When a label is not one of the guest's.
 */
export function placeGuest(
  guest: Guest,
  options: BootOptions,
  mode: Mode,
  defaults: ModeDefaults,
  memorySize: number,
): GuestPlacement {
  const own = imageOf(guest, options, defaults);
  const image = options.images === undefined ? own : own.with(options.images);
  const loadAddress = loadAddressOf(guest, image, options);
  const entry = entryOf(image, options.entry);
  const started = realModeStart(options, image, entry, loadAddress);
  const gates = gatesOf(options, image, movedBy(options, image, loadAddress));
  const layout = { ...started, mode, memorySize, entry: exact(entry), gates } as BootLayout;
  return { image, loadAddress, entry, layout };
}

function imageOf(
  guest: Guest,
  { origin, cs, ip }: BootOptions & { cs?: number; ip?: number },
  { bits, code }: ModeDefaults,
): Image {
  if (guest instanceof Image) return guest;
  // A guest started at CS:IP is assembled for offsets in that segment.
  const fallback = cs === undefined ? code : ip ?? 0;
  return guest.assemble({ origin: origin ?? fallback, bits });
}

/**
 * The physical address of a guest's first byte, where that is not what its linear address makes of it.
 * Assembly that is started at CS:IP has offsets in that segment for addresses, unless it was given an origin
 * of its own.
 */
function loadAddressOf(
  guest: Guest,
  image: Image,
  { load, origin, cs }: BootOptions & { cs?: number },
): number | undefined {
  if (load !== undefined || cs === undefined) return load;
  return guest instanceof AsmSource && origin === undefined
    ? cs * PARAGRAPH + Number(image.origin)
    : undefined;
}

/** Where only CS is given, IP is the offset of the guest's entry in that segment. */
function realModeStart(
  options: BootOptions & { cs?: number; ip?: number },
  image: Image,
  entry: bigint,
  loadAddress: number | undefined,
): BootOptions {
  const { cs, ip } = options;
  if (cs === undefined || ip !== undefined) return options;
  const moved = movedBy(options, image, loadAddress);
  return { ...options, ip: Number(entry) + moved - cs * PARAGRAPH } as BootOptions;
}

function entryOf(image: Image, entry: Address | undefined): bigint {
  if (typeof entry === "string") return image.symbol(entry);
  return entry === undefined ? image.entry : checkAddress(entry, "the guest's entry");
}

/** Boot states of modes without 64-bit addresses take numbers. */
function exact(address: bigint): number | bigint {
  return address <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(address) : address;
}

/** What is to be added to labels that are offsets in the segment in which the guest starts. */
function movedBy(
  { cs }: BootOptions & { cs?: number },
  image: Image,
  loadAddress: number | undefined,
): number {
  return cs === undefined || loadAddress === undefined ? 0 : loadAddress - Number(image.origin);
}

/** The addresses of handlers that were given as labels. */
function gatesOf(
  options: BootOptions,
  image: Image,
  moved: number,
): Record<number, number | bigint> {
  const { gates = {} } = options;
  return Object.fromEntries(
    Object.entries(gates).map(([vector, handler]) => [
      vector,
      typeof handler === "string" ? exact(image.symbol(handler) + BigInt(moved)) : handler,
    ]),
  );
}
