/** Answers of keyboards and mice (IBM PS/2 Technical Reference). */
export const ACKNOWLEDGE = 0xfa;
/** The byte was not understood. */
export const RESEND = 0xfe;
/** What they send after a reset. */
export const SELF_TEST_PASSED = 0xaa;

/** How many bytes a device keeps that the controller does not take. Those that come then are lost. */
export const BUFFER_SIZE = 16;

/** What is at the other end of a controller's port. */
export interface Ps2Device {
  /** The next byte that it sends, which is gone then; undefined for none. */
  take(): number | undefined;
  /** Whether the test has done something that it could tell of now, and nothing is on its way. */
  readonly isReady: boolean;
  /** Tells of the next of that: it is on its way then. */
  tell(): void;
  /** Takes a byte from the controller. */
  receive(byte: number): void;
  /** Puts it in its state after power-on. */
  reset(): void;
  /** Its state, as plain data. */
  save(): unknown;
  /** Takes a state that {@linkcode Ps2Device.save} gave. */
  restore(state: unknown): void;
}
