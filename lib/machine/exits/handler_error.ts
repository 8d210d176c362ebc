const marked = new WeakSet<Error>();

/** Marks an error about what a handler returned: where the test runs its guest is the place to tell it. */
export function handlerError<Kind extends Error>(error: Kind): Kind {
  marked.add(error);
  return error;
}

/** Whether an error is about what a handler returned, and not one that it threw. */
export function isHandlerError(error: unknown): error is Error {
  return error instanceof Error && marked.has(error);
}
