import { exceptionOf } from "../exceptions/exceptions.ts";
import type { ExceptionName } from "../exceptions/exceptions.ts";
import type { Finding, SeenException } from "./incident.ts";

/** An exception that the manuals' rules predict, and why. */
export interface Raised extends SeenException {
  /** Which rule is broken, as the end of a sentence that begins with the instruction. */
  readonly reason: string;
  /** What is behind it. */
  readonly causes: readonly Finding[];
  /** The registers that decided, by name (`ss`, `cr4`, `gdtr`, `rax`): their last writers belong to the chain. */
  readonly registers: readonly string[];
  /** The linear address of memory that decided, where a pointer or a frame was read from it. */
  readonly memory?: { readonly linear: bigint; readonly size: number };
}

/** What an exception has beside its name and its reason. */
export type RaisedDetails = Partial<
  Pick<Raised, "errorCode" | "cr2" | "causes" | "registers" | "memory">
>;

/** An exception by its name, with its reason. */
export function raise(name: ExceptionName, reason: string, details: RaisedDetails = {}): Raised {
  return { vector: exceptionOf(name).vector, reason, causes: [], registers: [], ...details };
}

/** A finding about what made it so. */
export function cause(text: string, details: Omit<Finding, "kind" | "text"> = {}): Finding {
  return { kind: "cause", text, ...details };
}
