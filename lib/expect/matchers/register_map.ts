import type { RegisterDefinitions } from "../../devices/register_definition.ts";
import type { ExpectedAccess, RegisterAccess, RegisterMap } from "../../devices/register_map.ts";
import { AssertionError, type Matcher } from "../failure_page.ts";

/** How many accesses a failure page shows at the most, around the one that is wrong. */
const ACCESSES_SHOWN = 12;

/** What can be expected of a device that exists as its registers. */
export class RegisterMapExpectation {
  readonly #map: RegisterMap<RegisterDefinitions>;

  /** Use {@linkcode expect}. */
  constructor(map: RegisterMap<RegisterDefinitions>) {
    this.#map = map;
  }

  /**
   * The guest's accesses were these, all of them and in this order. `map.read(…)`, `map.wrote(…)` and `map.polled(…)`
   * make them; of a value given by fields, only these are compared.
   *
   * @throws {AssertionError} When they were not.
   * @throws {TypeError} When an element is none of these.
   */
  toHaveAccessed(expected: readonly ExpectedAccess[]): void {
    if (!Array.isArray(expected)) {
      throw new TypeError(`Cannot expect ${String(expected)}: give a list of accesses`);
    }
    for (let index = 0; index < expected.length; index++) {
      if (typeof expected[index]?.kind === "string") continue;
      throw new TypeError(
        `Cannot expect element ${index}: it is no access; map.read(), map.wrote() and map.polled() make them`,
      );
    }
    const { accesses } = this.#map;
    let at = 0;
    for (const [index, each] of expected.entries()) {
      const end = endOf(each, accesses, at);
      if (end === undefined) throw this.#failure(expected, index, at, this.toHaveAccessed);
      at = end;
    }
    if (at < accesses.length) {
      throw this.#failure(expected, expected.length, at, this.toHaveAccessed);
    }
  }

  #failure(
    expected: readonly ExpectedAccess[],
    index: number,
    at: number,
    matcher: Matcher,
  ): AssertionError {
    const { name, accesses } = this.#map;
    const first = Math.max(0, at - ACCESSES_SHOWN / 2);
    const shown = accesses.slice(first, first + ACCESSES_SHOWN).map((access, offset) =>
      `  ${first + offset === at ? "→" : " "} ${first + offset + 1}  ${this.#map.describe(access)}`
    );
    const received = accesses[at] === undefined
      ? "no access more"
      : this.#map.describe(accesses[at]);
    return new AssertionError(
      [
        `expect(${name}).toHaveAccessed`,
        "",
        `  access ${at + 1}  expected ${expected[index]?.text ?? "no access more"}`,
        `  ${" ".repeat(`access ${at + 1}`.length)}  received ${received}`,
        "",
        `the accesses to ${name}: ${accesses.length}`,
        ...shown.length === 0 ? ["    none"] : shown,
      ].join("\n"),
      matcher,
    );
  }
}

/** The index behind the accesses that an expected one takes; undefined where it does not hold. */
function endOf(
  { kind, register, mask, value }: ExpectedAccess,
  accesses: readonly RegisterAccess[],
  at: number,
): number | undefined {
  const isKind = (access: RegisterAccess | undefined) =>
    access?.register === register && access.kind === (kind === "write" ? "write" : "read");
  const holds = (access: RegisterAccess) => (access.value & mask) >>> 0 === value;
  if (kind !== "poll") {
    return isKind(accesses[at]) && holds(accesses[at]) ? at + 1 : undefined;
  }
  for (let index = at; isKind(accesses[index]); index++) {
    if (holds(accesses[index])) return index + 1;
  }
  return undefined;
}
