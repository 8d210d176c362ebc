import type { AddressRange, Bus } from "../../devices/bus.ts";
import { checkStateful, type PlacedHandler, type StatefulHandler } from "../../devices/handlers.ts";
import { formatAddress } from "../../x86/hex.ts";

interface Region<Handler> {
  readonly first: number;
  readonly last: number;
  readonly handler: Handler;
}

/** What handlers of both address spaces have. */
interface AnyHandler extends StatefulHandler {
  readonly name?: string;
  readonly read?: unknown;
  readonly write?: unknown;
}

/**
 * A {@linkcode Bus} with its lookup, which the run loop makes once for every exit and which allocates
 * nothing.
 */
export class HandlerTable<Handler extends AnyHandler> implements Bus<Handler> {
  readonly #what: string;
  readonly #lastAddress: number;
  readonly #check: (first: number, last: number) => void;
  #regions: Region<Handler>[] = [];
  #latest: Region<Handler> | undefined;
  #fallbacks: Handler[] = [];
  #version = 0;

  /**
   * A table without handlers.
   *
   * @param what What the addresses are, for messages: `"ports"` or `"physical addresses"`.
   * @param check Throws where a range can have no handler for another reason.
   */
  constructor(
    what: string,
    lastAddress: number,
    check: (first: number, last: number) => void = () => {},
  ) {
    this.#what = what;
    this.#lastAddress = lastAddress;
    this.#check = check;
  }

  /** Another number whenever another handler may have an address. */
  get version(): number {
    return this.#version;
  }

  /** See {@linkcode Bus.on}. */
  on(range: AddressRange, handler: Handler): Disposable {
    const [first, last] = typeof range === "number" ? [range, range] : range;
    if (
      !Number.isSafeInteger(first) || !Number.isSafeInteger(last) || first < 0 || last < first ||
      last > this.#lastAddress
    ) {
      throw new RangeError(
        `Cannot handle ${this.#what} ${formatAddress(first)} to ${
          formatAddress(last)
        }: they are not a range from 0 to ` +
          formatAddress(this.#lastAddress),
      );
    }
    checkHandler(handler, `${this.#what} ${formatAddress(first)} to ${formatAddress(last)}`);
    const other = this.#regions.find((region) => region.first <= last && first <= region.last);
    if (other !== undefined) {
      throw new RangeError(
        `Cannot handle ${this.#what} ${formatAddress(first)} to ${formatAddress(last)}: ` +
          `${other.handler.name ?? "another handler"} has ${formatAddress(other.first)} to ` +
          `${
            formatAddress(other.last)
          } already. Dispose what its on() returned first, or choose another range. For all that nobody else ` +
          "takes there is otherwise().",
      );
    }
    this.#check(first, last);
    const region = { first, last, handler };
    this.#version++;
    this.#regions = [...this.#regions, region].sort((a, b) => a.first - b.first);
    return {
      [Symbol.dispose]: () => {
        this.#version++;
        this.#regions = this.#regions.filter((each) => each !== region);
        if (this.#latest === region) this.#latest = undefined;
      },
    };
  }

  /**
   * Hands what no handler takes to `handler`, until the returned object is disposed; the latest goes first.
   *
   * @throws {TypeError} When the handler has neither `read` nor `write`.
   */
  otherwise(handler: Handler): Disposable {
    checkHandler(handler, `all other ${this.#what}`);
    this.#version++;
    this.#fallbacks = [handler, ...this.#fallbacks];
    return {
      [Symbol.dispose]: () => {
        this.#version++;
        this.#fallbacks = this.#fallbacks.filter((each) => each !== handler);
      },
    };
  }

  /** The handlers, and where they are. */
  get placed(): readonly PlacedHandler[] {
    const regions = this.#regions.map(({ first, last, handler }) => {
      const to = first === last ? "" : ` to ${formatAddress(last)}`;
      return { place: `a handler of ${this.#what} ${formatAddress(first)}${to}`, handler };
    });
    const count = this.#fallbacks.length;
    const fallbacks = this.#fallbacks.map((handler, index) => {
      const which = index === count - 1 ? "" : ` (number ${count - index})`;
      return { place: `a handler of all other ${this.#what}${which}`, handler };
    });
    return [...regions, ...fallbacks];
  }

  /** Who takes reads of an address; undefined where nobody does. */
  reader(address: number): Handler | undefined {
    const handler = this.find(address);
    return handler?.read === undefined
      ? this.#fallbacks.find((each) => each.read !== undefined)
      : handler;
  }

  /** Who takes writes to an address; undefined where nobody does. */
  writer(address: number): Handler | undefined {
    const handler = this.find(address);
    return handler?.write === undefined
      ? this.#fallbacks.find((each) => each.write !== undefined)
      : handler;
  }

  /** The handler that has an address in a range, or undefined. */
  overlapping(first: number, last: number): Handler | undefined {
    return this.#regions.find((region) => region.first <= last && first <= region.last)?.handler;
  }

  /**
   * Refuses a range for memory.
   *
   * @throws {RangeError} When a handler has an address in it.
   */
  checkIsFree(first: number, last: number): void {
    const region = this.#regions.find((region) => region.first <= last && first <= region.last);
    if (region === undefined) return;
    throw new RangeError(
      `Cannot place memory at ${formatAddress(first)}–${formatAddress(last)}: ` +
        `${region.handler.name ?? "a handler"} has the ${this.#what} ${
          formatAddress(region.first)
        } to ${
          formatAddress(region.last)
        }. Dispose what its on() returned first, or choose another address.`,
    );
  }

  /** The handler that has `address`, or undefined. */
  find(address: number): Handler | undefined {
    const latest = this.#latest;
    // Guests tend to talk to one device many times in a row.
    if (latest !== undefined && address >= latest.first && address <= latest.last) {
      return latest.handler;
    }
    const regions = this.#regions;
    let low = 0;
    let high = regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const region = regions[middle];
      if (address < region.first) high = middle - 1;
      else if (address > region.last) low = middle + 1;
      else {
        this.#latest = region;
        return region.handler;
      }
    }
    return undefined;
  }
}

function checkHandler(handler: AnyHandler, what: string): void {
  const { read, write }: AnyHandler = handler ?? {};
  for (const [name, method] of Object.entries({ read, write })) {
    if (method === undefined || typeof method === "function") continue;
    throw new TypeError(
      `Cannot handle ${what} by a ${name} that is ${String(method)}: give a function`,
    );
  }
  if (read !== undefined || write !== undefined) {
    return checkStateful(handler, `handle ${what}`);
  }
  throw new TypeError(
    `Cannot handle ${what} by ${typeof handler}: it has neither read nor write. Give an object with one of them, or both.`,
  );
}
