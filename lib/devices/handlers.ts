/** What a function may return whose result nobody uses: anything but a promise, for which nobody would wait. */
export type NoPromise =
  | void
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | symbol
  | (object & { readonly then?: never });

/** Whether a function of the test's has not done its work when it returned. */
export function isPromise(result: unknown): result is PromiseLike<unknown> {
  return typeof result === "object" && result !== null && "then" in result;
}

/**
 * The error for a function that returned a promise. Whether that is ever rejected is nobody's affair then.
 *
 * @param what What cannot be done, and whose function it is.
 */
export function asyncError(promise: PromiseLike<unknown>, what: string): TypeError {
  Promise.resolve(promise).catch(() => {});
  return new TypeError(
    `Cannot ${what}: it returned a promise, and the guest does not wait. Make it a function that is not async, and ` +
      "await what it needs before the machine runs.",
  );
}

/**
 * Checks what a handler returned for a write.
 *
 * @throws {TypeError} When it is a promise.
 */
export function checkWritten(result: unknown, handler: { readonly name?: string }): void {
  if (isPromise(result)) throw asyncError(result, `take a write by ${handler.name ?? "handler"}`);
}

/** A handler with state of its own, which snapshots of the machine have in them. It has both methods, or neither. */
export interface StatefulHandler {
  /** Its state: data that `structuredClone` takes. The snapshot has a copy. */
  save?(): unknown;
  /** Takes a state that {@linkcode StatefulHandler.save} gave: a copy, which is the handler's own. */
  restore?(state: unknown): void;
}

/** Where a handler is, or what else somebody has set up there, in words. */
export interface PlacedHandler {
  /** Where. No two are at the same place. */
  readonly place: string;
  /** Who takes what the guest does there; undefined where it is nobody with state. */
  readonly handler?: StatefulHandler;
}

/**
 * Checks that what is saved of a handler or a device can be brought back.
 *
 * @param what What cannot be done with it else.
 * @throws {TypeError} When it has one of the two methods only, or one that is no function.
 */
export function checkStateful(handler: StatefulHandler, what: string): void {
  const { save, restore } = handler;
  if (save === undefined && restore === undefined) return;
  if (typeof save === "function" && typeof restore === "function") return;
  throw new TypeError(
    `Cannot ${what}: its save is ${kindOf(save)}, and its restore ${
      kindOf(restore)
    }. Snapshots take both, ` +
      "save() and restore(state), or neither.",
  );
}

function kindOf(method: unknown): string {
  return typeof method === "function"
    ? "a function"
    : method === undefined
    ? "missing"
    : `of type ${typeof method}`;
}

/** Answers a guest's accesses to a range of I/O ports. */
export interface PortHandler extends StatefulHandler {
  /** What to call it in tables of exits and in failure pages: `"COM1"`. */
  readonly name?: string;
  /**
   * Answers an `in`, once for each element of a string instruction.
   *
   * @param size How many bytes the guest asked for. The value returned must fit them.
   */
  read?(port: number, size: 1 | 2 | 4): number;
  /** Takes the value of an `out`, once for each element of a string instruction. */
  write?(port: number, value: number, size: 1 | 2 | 4): NoPromise;
}

/** Answers a guest's accesses to physical addresses that no memory slot backs. */
export interface MmioHandler extends StatefulHandler {
  /** What to call it in tables of exits and in failure pages: `"IOAPIC"`. */
  readonly name?: string;
  /**
   * Answers a read.
   *
   * @param size 1 to 8 bytes: an access that crosses pages arrives in parts. The value returned must fit
   * them.
   */
  read?(address: number, size: number): number | bigint;
  /** Takes a write. The value is a number for up to 4 bytes, and a bigint above. */
  write?(address: number, value: number | bigint, size: number): NoPromise;
}
