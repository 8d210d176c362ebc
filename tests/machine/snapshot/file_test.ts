import { asm, boot, type BootOptions, expect, Snapshot } from "@vmexit/vmexit";
import { type Device, Pic } from "@vmexit/vmexit/devices";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import configuration from "../../../deno.json" with { type: "json" };
import { contentsOf } from "../../../lib/machine/snapshot/snapshot.ts";
import { start } from "./file_guest.ts";
import { VERSION } from "../../../lib/machine/snapshot/identity.ts";
import { wholeState } from "./whole_state.ts";

/** A device whose state is none that can be written down. */
class Live implements Device {
  readonly name = "live";
  attach() {}
  save = () => () => {};
  restore() {}
}

function withFile(body: (path: string) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    body(`${folder}/machine.snapshot`);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** The number of an exit in the middle of the guest's. */
const MIDDLE = 7;

/** Writes a snapshot of the middle, and gives what the machine was then, and at its end. */
function write(path: string) {
  using vm = start();
  for (const { number } of vm.exits()) if (number === MIDDLE) break;
  vm.snapshot().save(path);
  const then = wholeState(vm);
  expect(vm).toFault("#UD");
  return { then, end: wholeState(vm) };
}

Deno.test("a machine goes on from a file as it would have gone on, in this process and in another", () => {
  withFile((path) => {
    const { then, end } = write(path);
    const snapshot = Snapshot.load(path);
    for (let again = 0; again < 2; again++) {
      using vm = start();
      vm.restore(snapshot);
      assertEquals(wholeState(vm), then);
      expect(vm).toFault("#UD");
      assertEquals(wholeState(vm), end);
      vm.restore(snapshot);
      assertEquals(wholeState(vm), then);
      const later = vm.snapshot();
      expect(vm).toFault("#UD");
      vm.restore(later);
      assertEquals(wholeState(vm), then);
    }
    const there = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", new URL("file_reader.ts", import.meta.url).pathname, path],
      stderr: "inherit",
    }).outputSync();
    assertEquals(new TextDecoder().decode(there.stdout), `${end.serial}\n`);
  });
});

Deno.test("a fault that was caught is in the file, with its text", () => {
  withFile((path) => {
    let text = "";
    {
      using vm = start();
      expect(vm).toFault("#UD");
      vm.snapshot().save(path);
      text = vm.fault!.text;
    }
    using vm = start();
    vm.restore(Snapshot.load(path));
    assertEquals(vm.fault!.text, text);
  });
});

Deno.test("a snapshot of another kind of machine is refused, and what is other is named", () => {
  withFile((path) => {
    write(path);
    const snapshot = Snapshot.load(path);
    const refused = (options: BootOptions, what: string) => {
      using vm = start(options);
      const before = wholeState(vm);
      const error = assertThrows(() => vm.restore(snapshot), Error, what);
      assert(error.message.startsWith("Cannot restore the snapshot"), error.message);
      assertEquals(wholeState(vm), before);
    };
    refused(
      { devices: [new Pic()] },
      "the devices: the device COM1, the device PIC, the device PIT then",
    );
    refused({ devices: [], irqchip: true }, "the interrupt controllers: false then, true here");
    refused({ cpuid: { brand: "another" } } as BootOptions, "CPUID: ");
    refused({ memory: "8M" }, "memory slots are not those that it had then");
    {
      using vm = boot(asm`hlt`);
      assertThrows(() => vm.restore(snapshot), TypeError, "the guest: ");
    }
  });
});

Deno.test("a file of another version, or another host, is refused by what is other", () => {
  assertEquals(VERSION, configuration.version);
  withFile((path) => {
    write(path);
    using vm = start();
    const snapshot = Snapshot.load(path);
    for (const what of ["vmexit", "Deno", "the host's kernel", "the host's CPU"]) {
      const identity = { ...contentsOf(snapshot).identity(), [what]: "other" };
      const other = new Snapshot({ ...contentsOf(snapshot), identity: () => identity });
      assertThrows(() => vm.restore(other), TypeError, `${what}: other then`);
    }
  });
});

Deno.test("what is no path is refused, before a file of that name is made", () => {
  withFile((path) => {
    const url = new URL(`file://${path}`);
    const snapshot = (() => {
      using vm = start();
      const snapshot = vm.snapshot();
      snapshot.save(url);
      return snapshot;
    })();
    assertEquals(Snapshot.load(url).pages, snapshot.pages);
    for (const wrong of [undefined, null, 5, {}, "", new URL("https://example.org/a")]) {
      const load = () => Snapshot.load(wrong as string);
      const error = assertThrows(load, TypeError, "Cannot load a snapshot: ");
      assert(error.stack!.split("\n")[1].includes("file_test.ts"), error.stack);
      assertThrows(() => snapshot.save(wrong as string), TypeError, "Cannot save a snapshot: ");
    }
    assertThrows(
      () => snapshot.save(path),
      TypeError,
      "Cannot save a snapshot, which says what kind of machine it is of: the machine is disposed",
    );
  });
});

Deno.test("what is no file of a snapshot's, or one that is damaged, is refused", () => {
  withFile((path) => {
    const refused = (bytes: Uint8Array, why: string) => {
      Deno.writeFileSync(path, bytes);
      const error = assertThrows(() => Snapshot.load(path), TypeError, why);
      assert(error.message.includes(path), error.message);
    };
    assertThrows(() => Snapshot.load(path), Deno.errors.NotFound);
    write(path);
    const whole = Deno.readFileSync(path);
    refused(new Uint8Array(0), "it is empty");
    refused(
      new TextEncoder().encode("something else of some length"),
      "it is no file of vm.snapshot()",
    );
    for (const length of [1, 20, 60, 200, whole.length - 1]) {
      refused(whole.subarray(0, length), "it is cut short");
    }
    for (const at of [20, 60, 90, 300, whole.length >> 1, whole.length - 1]) {
      const damaged = whole.slice();
      damaged[at] ^= 0x40;
      Deno.writeFileSync(path, damaged);
      assertThrows(() => Snapshot.load(path), TypeError, "it is ");
    }
    Deno.writeFileSync(path, whole);
    Snapshot.load(path);
  });
});

Deno.test("a file that cannot be written leaves nothing behind, and the one that was there", () => {
  withFile((path) => {
    write(path);
    const before = Deno.readFileSync(path);
    using vm = start();
    assertThrows(() => vm.snapshot().save("/nowhere/at/all"), Deno.errors.NotFound);
    using live = start({ devices: [new Live()] });
    assertThrows(() => live.snapshot().save(path), TypeError, "is no plain data");
    // No file may grow: a write fails as it does on a full disk.
    const command =
      'trap "" XFSZ; ulimit -f 0; exec "$0" run -A --no-check --no-code-cache "$1" "$2"';
    const script = new URL("file_rewriter.ts", import.meta.url).pathname;
    const { stdout } = new Deno.Command("bash", {
      args: ["-c", command, Deno.execPath(), script, path],
      stderr: "inherit",
    }).outputSync();
    assertStringIncludes(new TextDecoder().decode(stdout), "File too large");
    assertEquals(Deno.readFileSync(path), before);
    const folder = path.slice(0, path.lastIndexOf("/"));
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["machine.snapshot"]);
  });
});
