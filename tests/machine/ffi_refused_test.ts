import { assertEquals, assertStringIncludes } from "@std/assert";

const MOD = import.meta.resolve("../../mod.ts");
const KVM = import.meta.resolve("../../lib/kvm/mod.ts");
const LIBC = import.meta.resolve("../../lib/ffi/real_libc.ts");

// In a process of its own: libc stays open once it is, and `deno test` opens it before the first test.
Deno.test("without the permission for FFI, boot says which permission is missing and how to give it", async () => {
  const script = `import { asm, boot, Image } from "${MOD}";
import { kvmLibc } from "${KVM}";
import { libc } from "${LIBC}";
const guest = Image.fromBytes(new Uint8Array([0xf4]), { origin: 0x500 });
for (const use of [() => boot(guest), libc, kvmLibc, () => boot(asm\`hlt\`)]) {
  try {
    use();
    console.log("nothing");
  } catch (error) {
    console.log(error instanceof Deno.errors.NotCapable, error.message);
  }
}`;
  const args = ["run", "--no-prompt", "--no-check", "--allow-run", "--allow-import", "-"];
  const child = new Deno.Command(Deno.execPath(), {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { stdout, stderr } = await child.output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  assertEquals(lines.length, 4, new TextDecoder().decode(stderr));
  for (const line of lines) {
    assertStringIncludes(line, "true Cannot call libc: FFI is not permitted. Run with --allow-ffi");
  }
});
