import { HostError } from "../../ffi/host_error.ts";
import type { Libc } from "../../ffi/libc.ts";
import { Kvm } from "../../kvm/kvm.ts";
import { KvmError } from "../../kvm/kvm_error.ts";
import { type HostFacts, type Needs, unmetNeeds } from "./needs.ts";
import { nestedName } from "./nested_name.ts";

/** Errors by which a host cannot be asked. The test will meet the same one, and fail with it. */
const HOST_ERRORS = [HostError, KvmError, Deno.errors.NotCapable];

/** Whether a test is left out. `Deno.test`, and steps, take it as options. */
export interface Requirement {
  /** Whether the host lacks something that the test needs. */
  readonly ignore: boolean;
  /** What that is, in a sentence; undefined where it lacks nothing. */
  readonly reason: string | undefined;
}

/** The options of a test that is left out where its host lacks something. */
export interface RequiringTest {
  /** The test's name, and behind it why it is left out, where it is. */
  readonly name: string;
  /** Whether it is left out. */
  readonly ignore: boolean;
}

/** What was found out when it was first asked. */
let known: { readonly facts: HostFacts | undefined } | undefined;

/**
 * A test's options by which it is skipped where the host lacks what it needs. The reason stands behind its
 * name, so that every reporter shows it.
 *
 * A host without any KVM lacks everything, and skips nothing: the test runs, and fails with the
 * {@linkcode HostError} that says what to do. The same holds where FFI is not permitted. No permission is
 * asked for.
 *
 * @param needs What it needs; what is `false` the host must lack.
 * @param name The test's name.
 * @throws {RangeError} When there is nothing of a name.
 *
 * @example
 * ```ts no-eval
 * import { asm, boot, requires } from "@vmexit/vmexit";
 *
 * Deno.test(requires({ la57: true }, "the guest runs with 5 levels"), () => {
 *   using vm = boot(asm`hlt`, { mode: "long", levels: 5 });
 *   vm.run();
 * });
 * // the guest runs with 5 levels (skipped: this host's KVM offers its guests no la57) ... ignored
 * ```
 */
export function requires(needs: Needs, name: string): RequiringTest;
/**
 * Whether the host lacks something, and what, for a test or a step that names the reason itself.
 *
 * @param needs What is needed; what is `false` the host must lack.
 * @throws {RangeError} When there is nothing of a name.
 *
 * @example
 * ```ts no-eval
 * import { requires } from "@vmexit/vmexit";
 *
 * const { ignore, reason } = requires({ vmx: true, dirtyRing: true });
 * if (ignore) console.log(reason);
 * ```
 */
export function requires(needs: Needs): Requirement;
export function requires(needs: Needs, name?: string): Requirement | RequiringTest {
  const unmet = unmetNeeds(needs, hostFacts());
  const ignore = unmet.length > 0;
  const reason = ignore ? unmet.join("; ") : undefined;
  if (name === undefined) return { ignore, reason };
  return { name: ignore ? `${name} (skipped: ${reason})` : name, ignore };
}

function hostFacts(): HostFacts | undefined {
  known ??= { facts: askHost() };
  return known.facts;
}

/** What a host says of itself; undefined where it cannot be asked. */
export function askHost(libc?: Libc): HostFacts | undefined {
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return undefined;
  try {
    using kvm = Kvm.open(libc);
    return {
      capability: (name) => {
        using again = Kvm.open(libc);
        return again.capability(name);
      },
      cpuid: kvm.getSupportedCpuid(),
      machine: nestedName(),
    };
  } catch (error) {
    if (HOST_ERRORS.some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}
