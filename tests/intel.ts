/**
 * The tests that depend on the processor's vendor: `deno task test:intel` runs them on a kvm_intel. One module for all, because each module that
 * `deno test` is given loads the library anew, which takes seconds on an emulated machine.
 *
 * What a machine cannot do is skipped by the test itself, with `requires`: the reason then stands in the report.
 */
import "./bench/suite/second_cpu_test.ts";
import "./bench/suite/suite_test.ts";
import "./exits/debug_test.ts";
import "./devices/device_test.ts";
import "./devices/pic_test.ts";
import "./exits/end_test.ts";
import "./exits/injection_test.ts";
import "./exits/io_test.ts";
import "./exits/kernel_test.ts";
import "./exits/smm_test.ts";
import "./guests/faults_test.ts";
import "./guests/long_mode_own_tables_test.ts";
import "./guests/long_mode_pages_test.ts";
import "./guests/real_mode_test.ts";
import "./guests/svm_test.ts";
import "./guests/vmx_test.ts";
import "./interrupts/controllers_test.ts";
import "./interrupts/device_bus_test.ts";
import "./interrupts/irqchip_test.ts";
import "./interrupts/window_test.ts";
import "./kvm/ioctls_system_test.ts";
import "./kvm/ioctls_vcpu_events_test.ts";
import "./kvm/ioctls_vcpu_state_test.ts";
import "./kvm/vcpu_test.ts";
import "./machine/boot/boot_state_test.ts";
import "./machine/coverage/code_coverage_test.ts";
import "./machine/coverage/rewritten_code_test.ts";
import "./machine/cpuid/cpuid_test.ts";
import "./machine/run/exits_test.ts";
import "./machine/faults/fault_reports_test.ts";
import "./machine/faults/fault_vectors_test.ts";
import "./machine/faults/faults_caught_test.ts";
import "./machine/failing_calls_test.ts";
import "./machine/machine_cpu_test.ts";
import "./machine/memory/memory_slots_test.ts";
import "./machine/msrs/msr_filter_test.ts";
import "./machine/msrs/msr_handlers_test.ts";
import "./machine/msrs/msrs_test.ts";
import "./machine/faults/page_faults_caught_test.ts";
import "./machine/reuse_test.ts";
import "./machine/registers/vector_registers_test.ts";
import "./modes/conventions_test.ts";
import "./modes/every_mode_test.ts";
import "./modes/missing_feature_test.ts";
import "./modes/paging_modes_test.ts";
import "./modes/protected_modes_test.ts";
import "./modes/real_modes_test.ts";
import "./smp/cpus_test.ts";
