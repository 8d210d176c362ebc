/** One thing that a matcher compared. */
export interface Comparison {
  /** What it is: `"al"`, `"physical 0x2000"`. */
  readonly what: string;
  /** What the test expects. */
  readonly expected: string;
  /** What there is. */
  readonly received: string;
  /** A line that points at a place of `received`, below it. */
  readonly mark?: string;
  /** Whether they match. */
  readonly matches: boolean;
}

/** A matcher's result, before `.not` turns it round. */
export interface Verdict {
  /** The call, as the test wrote it: `toHaveRegisters({ al: 0xaa })`. */
  readonly call: string;
  /** Whether everything matches. */
  readonly matches: boolean;
  /** Whether it is about what the guest has done: then nothing can be said before it has run. */
  readonly isOfRun?: true;
  /** Why there is nothing that could be compared, so that `.not` would hold whatever the guest does. */
  readonly absent?: string;
  /** What was compared. Called only where the text is needed. */
  readonly comparisons: () => readonly Comparison[];
  /** More for the failure page: a transcript with its marks. */
  readonly details?: () => string;
}
