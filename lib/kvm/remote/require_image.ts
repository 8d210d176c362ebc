import { O } from "../../ffi/files.ts";
import { HostError } from "../../ffi/host_error.ts";
import { processCalls } from "../../ffi/process_calls.ts";
import { libc as localLibc } from "../../ffi/real_libc.ts";
import { readText } from "../../ffi/read_text.ts";
import { findImage, type MachineImage } from "./machine_image.ts";

const COMMAND_LINE = new URL("../../cli/main.ts", import.meta.url);

/** How people type it. */
const SETUP = "vmexit setup (deno run -A jsr:@vmexit/vmexit/cli setup)";

/**
 * The image of the emulated machine; where there is none, `vmexit setup` makes it first, which is seen on standard error. Nothing is
 * installed on this system: that is left to a person who types the command.
 *
 * @param choice Why there is no other KVM.
 * @param again Whether one that is there is to be looked through, and made anew if it is damaged.
 * @throws {HostError} When it cannot be made; it says what to do.
 */
export function requireImage(
  choice: { readonly because: string },
  again = false,
): MachineImage {
  const libc = localLibc();
  const found = findImage(libc);
  if (found !== undefined && !again) return found;
  const calls = processCalls();
  const nothing = libc.open("/dev/null", O.RDWR);
  const deno = calls.readlink("/proc/self/exe")!;
  const env = (readText(libc, "/proc/self/environ") ?? "").split("\0").filter((each) =>
    each !== ""
  );
  const status = calls.wait(calls.spawn({
    program: deno,
    args: [
      deno,
      "run",
      "-A",
      "--no-config",
      "--no-lock",
      COMMAND_LINE.href,
      "setup",
      "--no-install",
    ],
    env: [...env.filter((each) => !each.startsWith("VMEXIT_KVM=")), "VMEXIT_KVM=qemu-svm"],
    descriptors: [nothing, 2, 2],
  }));
  libc.close(nothing);
  const made = findImage(libc);
  if (made !== undefined) return made;
  throw new HostError(
    `Cannot use KVM: ${choice.because}; and the emulated machine that is used instead could not be made ` +
      `(exit code ${
        status >> 8
      }; the reason is above). Type ${SETUP}, which installs what it needs; or enable ` +
      "virtualization (VT-x or AMD-V) in the firmware and load kvm_intel or kvm_amd; or, in a virtual machine, have its host " +
      "enable nested virtualization.",
  );
}
