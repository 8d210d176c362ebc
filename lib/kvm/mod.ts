export * from "./abi/mod.ts";
export * from "./describe_exit.ts";
export * from "./exit.ts";
export * from "./kvm.ts";
export * from "./kvm_error.ts";
export * from "./kvm_run_page.ts";
export * from "./vcpu.ts";
export * from "./vm.ts";
