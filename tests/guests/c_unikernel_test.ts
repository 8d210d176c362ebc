import { boot, guestTests, type Image } from "@vmexit/vmexit";
import { Unikernel, type UnikernelOptions } from "@vmexit/vmexit/devices";
import { assert, assertEquals } from "@std/assert";
import { buildGuest } from "./build_guest.ts";

let built: Image | undefined;

/** The guest, built once. */
function unikernel(): Image {
  return built ??= buildGuest("c_unikernel", ["main.c"], { bits: 64 });
}

const FILES = { "etc/config": "name = unikernel", "etc/old": "old", "etc/state": "state" };

const GIVEN: UnikernelOptions = {
  args: ["-v", "/etc/config"],
  env: { HOME: "/" },
  input: "typed\n",
  frames: [new TextEncoder().encode("to me.from x....")],
  writable: true,
};

/** What the guest writes into its log. */
const LOG = "A" +
  Array.from({ length: 4999 }, (_, index) => String.fromCharCode(97 + (index + 1) % 26)).join("") +
  "end";

const CALLS = [
  "write",
  "open",
  "close",
  "read",
  "exit",
  "lseek",
  "netwrite",
  "netread",
  "netstat",
  "cmdsize",
  "cmdval",
  "unlink",
];

/** Runs it to its end; its own tests are steps. */
async function run(t: Deno.TestContext, device: Unikernel): Promise<void> {
  using vm = boot(unikernel(), { convention: "unikernel", devices: [device], serial: false });
  await guestTests(vm, t);
  assertEquals(vm.lastExit?.reason, "SYSTEM_EVENT");
  assertEquals(device.exitStatus, -42);
  assertEquals(device.output, "output, error, UART: grüße\n");
  assertEquals(device.sentFrames.map((frame) => new TextDecoder().decode(frame)), [
    "from xto me.....",
  ]);
  assertEquals(new Set(device.calls.map(({ name }) => name)), new Set(CALLS));
}

Deno.test("a unikernel in C makes every hypercall, with files in memory", async (t) => {
  const device = new Unikernel({ ...GIVEN, files: FILES });
  await run(t, device);
  const files = [...device.files].map(([path, bytes]) => [path, new TextDecoder().decode(bytes)]);
  assertEquals(Object.fromEntries(files), {
    "etc/config": "name = unikernel",
    "etc/state": "",
    "log": LOG,
  });
});

Deno.test("a unikernel in C makes every hypercall, with a folder of the host's", async (t) => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.mkdirSync(`${folder}/root/etc`, { recursive: true });
    Deno.writeTextFileSync(`${folder}/secret`, "secret");
    for (const [path, text] of Object.entries(FILES)) {
      Deno.writeTextFileSync(`${folder}/root/${path}`, text);
    }
    await run(t, new Unikernel({ ...GIVEN, folder: `${folder}/root` }));
    const text = (path: string) => Deno.readTextFileSync(`${folder}/root/${path}`);
    assertEquals([text("etc/config"), text("etc/state"), text("log")], [
      FILES["etc/config"],
      "",
      LOG,
    ]);
    assertEquals(Array.from(Deno.readDirSync(`${folder}/root/etc`), ({ name }) => name).sort(), [
      "config",
      "state",
    ]);
    assertEquals(Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(), [
      "root",
      "secret",
    ]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("a unikernel that may not write finds out by its own tests", async () => {
  const device = new Unikernel({ ...GIVEN, writable: false, files: FILES });
  using vm = boot(unikernel(), { convention: "unikernel", devices: [device], serial: false });
  const failed: string[] = [];
  const step = async ({ name, fn }: Deno.TestStepDefinition) => {
    try {
      await fn(undefined as never);
    } catch {
      failed.push(name);
    }
    return true;
  };
  let message = "";
  await guestTests(vm, { step } as Deno.TestContext).catch((error) => message = error.message);
  assert(
    message.startsWith("Cannot take the hypercall write: the guest has no descriptor -1"),
    message,
  );
  assertEquals(failed, ["a file is made, written, appended to and read back"]);
});
