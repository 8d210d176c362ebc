import type { Progress } from "./progress.ts";

/** What a command of the command line works with. */
export interface CommandContext {
  /** Says what is being done. */
  progress: Progress;
  /** Ends everything under way when it is aborted. */
  signal: AbortSignal;
}
