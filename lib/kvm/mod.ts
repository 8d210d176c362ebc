export * from "./abi/mod.ts";
export * from "./describe_exit.ts";
export * from "./exit.ts";
export * from "./kvm.ts";
export * from "./kvm_error.ts";
export { KvmRun } from "./kvm_run.ts";
export * from "./vcpu.ts";
export * from "./vm.ts";
