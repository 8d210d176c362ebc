/**
 * Has every test of a run meet the KVM of Linux 5.15 ({@linkcode linux515}), whatever KVM it really uses:
 *
 *     deno test -A --preload=tests/hosts/on_linux_5_15.ts [files]
 *
 * `deno task test:5.15` does, for all that reach KVM. Tests that need more must skip, and none may fail.
 *
 * @module
 */
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { linux515 } from "./linux_5_15.ts";

// All that is opened later in this isolate, which is one test file's, has this libc.
Object.assign(kvmLibc(), linux515({ ...kvmLibc() }));
