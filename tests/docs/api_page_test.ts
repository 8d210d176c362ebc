import { assertEquals } from "@std/assert";
import { API_PAGE, apiPage } from "./api_page.ts";

Deno.test("the page of the public names has each entry point's, and no other", async () => {
  const page = Deno.readTextFileSync(new URL(`../../${API_PAGE}`, import.meta.url));
  assertEquals(page, await apiPage(), "see whether the change is meant; then run `deno task docs`");
});
