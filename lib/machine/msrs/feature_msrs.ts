import type { Kvm } from "../../kvm/kvm.ts";
import { type Msr, msrName, msrNumber } from "../../x86/msr_number.ts";
import type { MsrListing } from "./msrs.ts";

/** A feature MSR and what it holds on this host. */
export interface FeatureMsr extends MsrListing {
  /** What it holds. */
  readonly value: bigint;
}

/**
 * The MSRs by which a host says what its KVM can give to guests, as `IA32_VMX_BASIC` and
 * `IA32_ARCH_CAPABILITIES` (`KVM_GET_MSR_FEATURE_INDEX_LIST`, api.rst 4.3).
 *
 * @throws {CapabilityError} When the kernel lacks KVM_CAP_GET_MSR_FEATURES.
 *
 * @example
 * ```ts no-eval
 * import { featureMsrs } from "@vmexit/vmexit";
 * import { Kvm } from "@vmexit/vmexit/kvm";
 *
 * using kvm = Kvm.open();
 * for (const { name, value } of featureMsrs(kvm)) console.log(name, value.toString(16));
 * ```
 */
export function featureMsrs(kvm: Kvm): FeatureMsr[] {
  const indices = kvm.getMsrFeatureIndexList();
  const values = kvm.getMsrs(indices);
  return indices.map((index, at) => ({ index, name: msrName(index), value: values[at].data }));
}

/**
 * What one feature MSR holds on this host.
 *
 * @throws {RangeError} When there is no MSR of that name.
 * @throws {MsrError} When it is none of the feature MSRs of this host.
 * @throws {CapabilityError} When the kernel lacks KVM_CAP_GET_MSR_FEATURES.
 */
export function featureMsr(kvm: Kvm, msr: Msr): bigint {
  return kvm.getMsrs([msrNumber(msr)])[0].data;
}
