/**
 * The host cannot do what vmexit needs: a device is missing, a permission is refused, a limit is reached.
 * It says nothing of the guest. The message names what is missing and what to do about it.
 */
export class HostError extends Error {
  /** The name that reporters print. */
  override readonly name = "HostError";
}
