import { assert, assertEquals } from "@std/assert";
import { differences, fingerprint, hostFingerprint } from "../../lib/bench/fingerprint.ts";

const FILES: Readonly<Record<string, string>> = {
  "/proc/cpuinfo": `processor\t: 0
cpu family\t: 25
model\t\t: 97
model name\t: AMD Ryzen 9 7950X 16-Core Processor
stepping\t: 2
microcode\t: 0xa601203
flags\t\t: fpu vme svm

processor\t: 1
cpu family\t: 25
microcode\t: 0xa601203
flags\t\t: fpu vme svm
`,
  "/proc/sys/kernel/osrelease": "6.12.1\n",
  "/proc/cmdline": "root=/dev/sda mitigations=off quiet isolcpus=1\n",
  "/sys/class/dmi/id/sys_vendor": "ASUS\n",
  "/sys/class/dmi/id/product_name": "System Product\n",
  "/sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected\n",
  "/sys/devices/system/cpu/vulnerabilities/retbleed": "Mitigation: untrained return thunk\n",
  "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
  "/sys/devices/system/cpu/smt/control": "on\n",
  "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
  "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "16\n",
  "/sys/module/kvm_amd/parameters/npt": "Y\n",
  "/sys/module/kvm_amd/parameters/avic": "N\n",
};

Deno.test("a host is described by what its kernel says; what it does not say is left out", () => {
  assertEquals(hostFingerprint((path) => FILES[path]), {
    processor: "AMD Ryzen 9 7950X 16-Core Processor",
    "family, model, stepping": "25, 97, 2",
    microcode: "0xa601203",
    CPUs: "2",
    "runs on": "hardware (ASUS System Product)",
    kernel: "6.12.1",
    "kernel command line": "mitigations=off isolcpus=1",
    mitigations: "retbleed: Mitigation: untrained return thunk",
    governor: "performance",
    SMT: "on",
    "transparent huge pages": "madvise",
    "huge pages": "16 of 2048 KiB",
    kvm_amd: "npt=Y avic=N",
  });
});

Deno.test("a host that says nothing has an empty description", () => {
  assertEquals(hostFingerprint(() => undefined), {});
});

Deno.test("a host that is a virtual machine says so", () => {
  const cpuinfo = FILES["/proc/cpuinfo"].replaceAll("svm", "svm hypervisor");
  const found = hostFingerprint((path) => path === "/proc/cpuinfo" ? cpuinfo : FILES[path]);
  assertEquals(found["runs on"], "a hypervisor (ASUS System Product)");
});

Deno.test("differences are what one has otherwise, or the other has not", () => {
  assertEquals(differences({ a: "1", b: "2" }, { a: "1", b: "3", c: "4" }), [
    { name: "b", first: "2", second: "3" },
    { name: "c", first: undefined, second: "4" },
  ]);
  assertEquals(differences(FILES, { ...FILES }), []);
});

Deno.test("this process's fingerprint is of the machine whose KVM it uses, and the same each time", () => {
  const software = { vmexit: "1" };
  const found = fingerprint(software, "QEMU 7");
  assertEquals(fingerprint(software, "QEMU 7"), found);
  assertEquals(found.software, software);
  for (const name of ["KVM", "processor", "microcode", "kernel", "runs on", "kvm"]) {
    assert(found.host[name], `${name} is missing in ${JSON.stringify(found.host)}`);
  }
  if (found.host.KVM === "this machine's") return;
  assertEquals(found.host.KVM, "that of the emulated machine qemu-svm (QEMU 7)");
  assert(found.host.processor.startsWith("QEMU TCG CPU"), found.host.processor);
  const outside = Deno.readTextFileSync("/proc/sys/kernel/osrelease").trim();
  assert(found.host.kernel !== outside && found.host["emulated on"].endsWith(outside));
});
