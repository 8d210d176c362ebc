import { asyncError, isPromise, type NoPromise } from "../devices/handlers.ts";
import { adoptSnapshot, Machine } from "./machine.ts";
import { fromCaller } from "./run/run_errors.ts";
import type { Snapshot } from "./snapshot/snapshot.ts";

/**
 * A machine whose guest has come to some point, of which tests get as many as they want: see {@linkcode template}.
 * It holds the content of that machine's memory, and no file descriptor.
 */
export class Template {
  readonly #boot: () => Machine;
  readonly #prepare: (vm: Machine) => unknown;
  #snapshot: Snapshot | undefined;
  #isMaking = false;
  #failure: { readonly cause: unknown } | undefined;

  /** Use {@linkcode template}. */
  constructor(boot: () => Machine, prepare: (vm: Machine) => unknown) {
    this.#boot = boot;
    this.#prepare = prepare;
  }

  /**
   * A new machine that stands where the template's guest stood: booted by the same function, then made the same in memory,
   * CPUs, controllers, devices and log. It is a machine like any other, and independent of the template and its other
   * forks: declare it with `using`.
   *
   * The first call boots the template's own machine and brings it to its point. Breakpoints that were set for that are not
   * in forks.
   *
   * @throws {TypeError} When `boot` gives no new machine, or a promise; or the guest was prepared with what forks have not:
   *   a handler, a rule about MSRs. They belong into `boot`.
   * @throws {RangeError} When it was prepared with other memory slots.
   * @throws What `boot` and `prepare` throw. A template that has failed once does not try again: each fork says why.
   */
  fork(): Machine {
    return fromCaller(this.fork, () => {
      const snapshot = this.#snapshot ??= this.#make();
      using cleanup = new DisposableStack();
      const vm = cleanup.use(this.#newMachine());
      adoptSnapshot(vm, snapshot);
      cleanup.move();
      return vm;
    });
  }

  #make(): Snapshot {
    if (this.#failure !== undefined) {
      const { cause } = this.#failure;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new TypeError(
        `Cannot fork the template: its machine could not be prepared before: ${why}`,
        { cause },
      );
    }
    if (this.#isMaking) {
      throw new TypeError(
        "Cannot fork the template: it is being made, by the functions that it was given. Fork it behind that, in a test",
      );
    }
    this.#isMaking = true;
    try {
      using vm = this.#newMachine();
      const result = this.#prepare(vm);
      if (isPromise(result)) throw asyncError(result, "prepare a template by an async function");
      return vm.snapshot();
    } catch (cause) {
      this.#failure = { cause };
      throw cause;
    } finally {
      this.#isMaking = false;
    }
  }

  #newMachine(): Machine {
    const vm: unknown = this.#boot();
    if (isPromise(vm)) throw asyncError(vm, "boot a template by an async function");
    if (!(vm instanceof Machine)) {
      throw new TypeError(
        "Cannot fork the template: its first function gives no machine. Return what boot() returns: " +
          "template(() => boot(guest), (vm) => vm.run())",
      );
    }
    vm.checkUsable("fork the template");
    if (!vm.hasRun) return vm;
    throw new TypeError(
      "Cannot fork the template: the machine that its first function gives has been run. Boot a new one there each time, " +
        "and bring it to its point in the second function.",
    );
  }
}

/**
 * Brings a guest to some point once, for many tests that begin there: a kernel that takes seconds to boot is booted once for
 * a file of tests.
 *
 * Nothing happens before the first {@linkcode Template.fork}.
 *
 * @param boot Boots a machine, the same each time: with its devices and its handlers, which are new for each fork. It is
 *   called for the template and for each fork.
 * @param prepare Runs its guest to the point where tests begin. It is called once.
 * @throws {TypeError} When one of them is no function.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, expect, hlt, portIn, template } from "@vmexit/vmexit";
 *
 * const booted = template(
 *   () =>
 *     boot(asm`
 *       mov ecx, 100000
 *     again:
 *       dec ecx                 ; what takes long
 *       jnz again
 *       hlt                     ; ready
 *       in  al, 0x60
 *       hlt
 *     `),
 *   (vm) => vm.run(),
 * );
 *
 * for (const key of [1, 2, 3]) {
 *   Deno.test(`key ${key}`, () => {
 *     using vm = booted.fork();
 *     expect(vm).toExit([portIn(0x60).returns(key), hlt()]);
 *     expect(vm).toHaveRegisters({ al: key });
 *   });
 * }
 * ```
 */
export function template(boot: () => Machine, prepare: (vm: Machine) => NoPromise): Template {
  fromCaller(template, () => {
    if ([boot, prepare].every((each) => typeof each === "function")) return;
    throw new TypeError(
      "Cannot make a template: give two functions, one that boots the machine and one that runs it to the point where " +
        "tests begin: template(() => boot(guest), (vm) => vm.run())",
    );
  });
  return new Template(boot, prepare);
}
