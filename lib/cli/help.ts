/** What `vmexit help` prints. */
export const HELP: string = `vmexit: unit tests for code that runs below an operating system

Usage: vmexit COMMAND [ARGUMENTS]

  demo [NAME ...]       boot the example guests and print each exit as it happens
  test [ARGUMENTS]      deno test with the same arguments; the last line is "N passed, N failed"
  bench [FILE ...]      the benchmarks of the project: bench/*_bench.ts
  setup                 fetch and make all that tests need; --c-compiler installs a C compiler, too; --no-install nothing
  image export FILE     pack the emulated machine; image import FILE unpacks it where its kernel cannot be fetched
  doctor                what this machine has, which KVM tests would use, and what to do about it
  help                  this text

KVM is this machine's /dev/kvm. Where there is none that can be used, it is that of a machine that QEMU emulates, with an AMD
processor: the same results, no real timing. A machine that Bochs emulates has an Intel processor; commands run inside it.

Environment
  VMEXIT_KVM            which KVM to use, whatever there is: host, nested (the same as qemu-svm), qemu-svm or bochs-vmx
  XDG_CACHE_HOME        where what was fetched and made is kept, in a folder vmexit (~/.cache)
  TMPDIR                where a run keeps its temporary files (/tmp)
`;
