import type { Exit } from "../../kvm/exits/exit.ts";
import { GuestFaultError } from "./guest_fault_error.ts";
import type { RunOptions } from "./run_options.ts";
import { TimeLimitError } from "./time_limit_error.ts";
import { UnhandledExitError } from "./unhandled_exit_error.ts";

/** Runs `body`; the stack of an error about the guest begins at the line of the test that called `method`. */
export function fromCaller(method: (options: RunOptions) => Exit, body: () => Exit): Exit {
  try {
    return body();
  } catch (error) {
    const isOfGuest = [UnhandledExitError, GuestFaultError, TimeLimitError]
      .some((kind) => error instanceof kind);
    if (isOfGuest) Error.captureStackTrace(error as Error, method);
    throw error;
  }
}
