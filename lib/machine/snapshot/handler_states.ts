import { asyncError, isPromise, type PlacedHandler } from "../../devices/handlers.ts";

/** What handlers have saved, by where they are. */
export type HandlerStates = readonly {
  /** Where. */
  readonly place: string;
  /** Whose it is; left out where it comes from another machine. */
  readonly handler?: unknown;
  /** What it has saved. */
  readonly state: unknown;
}[];

/**
 * The state of those handlers that have one to save.
 *
 * @throws {TypeError} When what one gives is a promise, or no plain data.
 */
export function saveHandlers(placed: readonly PlacedHandler[]): HandlerStates {
  return placed.flatMap(({ place, handler }) =>
    handler?.save === undefined
      ? []
      : [{ place, handler, state: copyOf(handler.save(), "keep", place) }]
  );
}

/** The handlers that are still where they were are as they were then. */
export function restoreHandlers(
  placed: () => readonly PlacedHandler[],
  states: HandlerStates,
): void {
  if (states.length === 0) return;
  const byPlace = new Map(placed().map(({ place, handler }) => [place, handler]));
  for (const { place, handler, state } of states) {
    const found = byPlace.get(place);
    if (found?.restore === undefined || (handler !== undefined && handler !== found)) continue;
    const result: unknown = found.restore(copyOf(state, "bring back", place));
    if (isPromise(result)) throw asyncError(result, `bring back the state of ${place}`);
  }
}

/** A state that is nobody else's: the handler may go on changing what it gave, and what it is given. */
function copyOf(state: unknown, verb: string, place: string): unknown {
  if (isPromise(state)) throw asyncError(state, `${verb} the state of ${place}`);
  try {
    return structuredClone(state);
  } catch (error) {
    throw new TypeError(
      `Cannot ${verb} the state of ${place}: what its save() returned is no plain data (${
        (error as Error).message
      })`,
      { cause: error },
    );
  }
}
