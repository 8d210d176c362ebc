/**
 * Has every test of a run meet what Intel processors do otherwise than AMD's ({@linkcode intelHost}), whatever KVM it really
 * uses:
 *
 *     deno test -A --preload=tests/hosts/on_intel.ts [files]
 *
 * @module
 */
import { kvmLibc } from "@vmexit/vmexit/kvm";
import { intelHost } from "./intel.ts";

// All that is opened later in this isolate, which is one test file's, has this libc.
Object.assign(kvmLibc(), intelHost({ ...kvmLibc() }));
