import { assert, assertEquals, assertRejects } from "@std/assert";
import { withCache } from "../../lib/nested/cache_folder.ts";
import { FileLock } from "../../lib/nested/file_lock.ts";
import { NestedError } from "../../lib/nested/nested_error.ts";

async function withCacheHome(home: string, body: () => Promise<void>): Promise<void> {
  const before = Deno.env.get("XDG_CACHE_HOME");
  Deno.env.set("XDG_CACHE_HOME", home);
  try {
    await body();
  } finally {
    if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
    else Deno.env.set("XDG_CACHE_HOME", before);
  }
}

Deno.test("a cache that cannot be written is an error that names it and the variable that moves it", async () => {
  await withCacheHome("/dev/null", async () => {
    const { message } = await assertRejects(
      () => withCache(() => Promise.resolve()),
      NestedError,
      "Cannot keep files in /dev/null/vmexit",
    );
    assert(message.includes("XDG_CACHE_HOME"));
  });
});

Deno.test("a full disk is said as such, and other errors pass as they are", async () => {
  const home = await Deno.makeTempDir();
  try {
    await withCacheHome(home, async () => {
      assertEquals(await withCache((folder) => Promise.resolve(folder)), `${home}/vmexit`);
      await assertRejects(
        () => withCache(() => Deno.writeTextFile("/dev/full", "text")),
        NestedError,
        "No space left on device",
      );
      await assertRejects(
        () => withCache(() => Promise.reject(new RangeError("on purpose"))),
        RangeError,
      );
    });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("waiting for a lock ends when it is let go, or when the signal is aborted", async () => {
  const path = await Deno.makeTempFile();
  try {
    const held = await FileLock.exclusive(path);
    const controller = new AbortController();
    const given = FileLock.shared(path, controller.signal);
    controller.abort(new Error("enough"));
    await assertRejects(() => given, Error, "enough");
    const waiting = FileLock.exclusive(path);
    held[Symbol.dispose]();
    using _lock = await waiting;
  } finally {
    await Deno.remove(path);
  }
});
